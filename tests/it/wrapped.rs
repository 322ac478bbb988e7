//! Each service and each body gives back what it wraps, and `default` is what `new` makes.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::{Layer, ServiceExt, service_fn};
use tower_transaction_id::body::ResponseBody;
use tower_transaction_id::messages::{BindMessageLayer, MessageContext};
use tower_transaction_id::{
    AllowedHosts, BindTransactionId, BindTransactionIdLayer, Failures, InjectTransactionId,
    TransactionId,
};

use crate::support::Never;

#[tokio::test]
async fn what_is_wrapped_can_be_read_changed_and_taken_out() {
    macro_rules! check {
        ($wrapper:expr) => {
            let mut wrapper = $wrapper;
            assert_eq!(*wrapper.get_ref(), "wrapped");
            *wrapper.get_mut() = "changed";
            assert_eq!(wrapper.into_inner(), "changed");
        };
    }
    check!(BindTransactionId::new("wrapped"));
    check!(InjectTransactionId::new("wrapped", AllowedHosts::any()));
    check!(BindMessageLayer::new("orders", MessageContext::clone).layer("wrapped"));
    let answers = service_fn(async |_: Request<()>| Ok::<_, Never>(Response::new("wrapped")));
    let response = BindTransactionId::new(answers).oneshot(Request::new(())).await.unwrap();
    assert!(TransactionId::try_from(&response.headers()["x-transaction-id"]).is_ok());
    check!(response.into_body());
}

#[test]
fn a_default_value_is_a_new_one() {
    let (default, new) = (BindTransactionIdLayer::default(), BindTransactionIdLayer::new());
    assert_eq!(format!("{default:?}"), format!("{new:?}"));
    assert_eq!(format!("{:?}", Failures::default()), format!("{:?}", Failures::new()));
    // Some middlewares put a default body in the place of the one that they take.
    assert!(http_body::Body::is_end_stream(&ResponseBody::<Full<Bytes>>::default()));
}
