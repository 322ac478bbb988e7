//! The first order, which the shop places itself, and the checks of the answer and of the story.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tower_transaction_id::{TransactionId, X_TRANSACTION_ID};

use crate::story::Story;

#[derive(Debug)]
pub(crate) struct FirstOrder {
    pub(crate) id: TransactionId,
    pub(crate) status: StatusCode,
    echoed: Option<String>,
    kitchen_id: Option<String>,
}

impl FirstOrder {
    /// Orders the artisanal hot dog, which cannot be had. Does so as the page would: generates an ID,
    /// sends the ID, and reads the echo.
    pub(crate) async fn place(storefront: SocketAddr) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20));
        let id = TransactionId::generate();
        let response = client
            .build()?
            .post(format!("http://{storefront}/orders"))
            .header(X_TRANSACTION_ID, id.header_value())
            .json(&json!({ "dog": "artisanal" }))
            .send()
            .await?;
        let status = response.status();
        let echoed = response.headers().get(X_TRANSACTION_ID);
        let echoed = echoed.and_then(|id| id.to_str().ok()).map(str::to_owned);
        let answer: Value = response.json().await?;
        let kitchen_id = answer["kitchenId"].as_str().map(str::to_owned);
        Ok(Self { id, status, echoed, kitchen_id })
    }

    /// Returns the faults of the answer alone. Each of them contradicts "one order that fails, and one
    /// ID through both services".
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.status != StatusCode::BAD_GATEWAY {
            faults.push(format!("the order was to fail with 502, and it was {}", self.status));
        }
        let services = [("storefront", &self.echoed), ("kitchen", &self.kitchen_id)];
        for (service, echoed) in services {
            match echoed {
                Some(same) if same == self.id.as_str() => {}
                Some(other) => faults.push(format!("the {service} worked under the ID {other}")),
                None => faults.push(format!("the {service} echoed no ID")),
            }
        }
        faults
    }

    /// Returns the faults in the stories. Without a fault, the errors of each of the `services` belong
    /// under this ID and under no other, and all of the `services` report in one trace.
    pub(crate) fn faults_in(&self, stories: &[Story], services: &[&str]) -> Vec<String> {
        let mut faults = Vec::new();
        for service in services {
            let told = stories.iter().filter(|story| story.has_error_of(service));
            let (here, elsewhere): (Vec<_>, Vec<_>) = told.partition(|story| story.id == self.id);
            if here.is_empty() {
                faults.push(format!("no error of the {service} stands under {}", self.id));
            }
            for story in elsewhere {
                faults.push(format!("an error of the {service} stands under {}", story.id));
            }
        }
        let told = stories.iter().find(|story| story.id == self.id);
        faults.extend(told.and_then(|story| fault_in_traces(story, services)));
        faults
    }
}

/// Returns a fault if a story contradicts "one trace through each of the `services`".
fn fault_in_traces(story: &Story, services: &[&str]) -> Option<String> {
    let traces = story.traces();
    if let [one] = traces.as_slice() {
        let missing = services.iter().find(|service| !one.services.contains(service))?;
        return Some(format!("the {missing} reported nothing in the trace {}", one.id));
    }
    let traces: Vec<_> = traces.iter().map(ToString::to_string).collect();
    Some(format!("there is not one trace, but {}: {}", traces.len(), traces.join(", ")))
}
