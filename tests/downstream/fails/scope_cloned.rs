//! Two tasks bound to clones of one scope would share a hub: each takes a fork.

use tower_transaction_id::TransactionIdScope;

pub fn start(scope: TransactionIdScope) {
    let copy = scope.clone();
    std::thread::spawn(move || copy.run(|| ()));
}

#[derive(Clone)]
pub struct Job {
    pub scope: TransactionIdScope,
}
