//! The kitchen and the courier as the shop sees them: child processes that must neither be lost nor left
//! behind.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use sentry::types::Dsn;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{ChildStdin, Command};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Child {
    name: &'static str,
    /// The first line that the child printed: it is ready.
    pub(crate) announced: String,
    process: tokio::process::Child,
    /// The child's standard input, to which the shop writes nothing. The child closes when this pipe
    /// does, and the system closes the pipe however this process ends.
    open: ChildStdin,
}

impl Child {
    /// Starts this program once more, with the arguments that make it the child, and reads the line
    /// that the child prints when it is ready.
    pub(crate) async fn open(
        name: &'static str,
        arguments: &[&str],
        dsn: &Dsn,
    ) -> Result<Self, String> {
        let failed = |error| format!("the {name} does not open: {error}");
        let program = std::env::current_exe().map_err(failed)?;
        let mut process = Command::new(program)
            .args(arguments)
            .env("SENTRY_DSN", dsn.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let pipes = process.stdin.take().zip(process.stdout.take());
        let (open, stdout) = pipes.ok_or(format!("the {name} cannot be talked to"))?;

        let mut lines = BufReader::new(stdout).lines();
        let announced = match timeout(PATIENCE, lines.next_line()).await {
            Ok(Ok(Some(line))) => line,
            Ok(Ok(None)) => {
                let status = process.wait().await.map_err(failed)?;
                return Err(format!("the {name} ended before it opened: {status}"));
            }
            Ok(Err(error)) => return Err(failed(error)),
            Err(_) => return Err(format!("the {name} does not open: it says nothing")),
        };
        Ok(Self { name, announced, process, open })
    }

    /// Resolves if the child ends by itself.
    pub(crate) async fn ended(&mut self) -> std::io::Result<ExitStatus> {
        self.process.wait().await
    }

    /// Lets the child finish the work at hand, send its reports and end. Kills it after [`PATIENCE`].
    pub(crate) async fn close(mut self) -> Result<(), String> {
        let name = self.name;
        drop(self.open);
        match timeout(PATIENCE, self.process.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(format!("the {name} ended badly: {status}")),
            Ok(Err(error)) => Err(format!("the {name} does not end: {error}")),
            Err(_) => {
                // `kill` waits for the end as well, so that no zombie stays behind.
                let _ = self.process.kill().await;
                Err(format!("the {name} would not close"))
            }
        }
    }
}

/// Resolves, in the child, when the shop closes, and also when the shop is no more.
pub(crate) async fn closing_time() {
    // Ctrl-C reaches every process of the terminal. The child is deaf to it, and closes with the shop:
    // no order is torn, and no report is lost.
    let deaf = tokio::spawn(async { while tokio::signal::ctrl_c().await.is_ok() {} });
    let mut stdin = tokio::io::stdin();
    let mut nothing = [0; 64];
    while matches!(stdin.read(&mut nothing).await, Ok(read) if read > 0) {}
    deaf.abort();
}
