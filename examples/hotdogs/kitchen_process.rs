//! The kitchen as the shop sees it: a child process that must neither be lost nor left behind.

use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use sentry::types::Dsn;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

use crate::options;

const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct KitchenProcess {
    pub(crate) address: SocketAddr,
    child: Child,
    /// The kitchen's standard input, to which the shop writes nothing. The kitchen closes when this
    /// pipe does, and the system closes the pipe however this process ends.
    open: ChildStdin,
}

impl KitchenProcess {
    /// Starts this program once more, as the kitchen, and reads the address that the kitchen prints.
    pub(crate) async fn open(dsn: &Dsn) -> Result<Self, String> {
        let failed = |error| format!("the kitchen does not open: {error}");
        let program = std::env::current_exe().map_err(failed)?;
        let mut child = Command::new(program)
            .arg(options::KITCHEN)
            .env("SENTRY_DSN", dsn.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (open, stdout) = pipes.ok_or("the kitchen cannot be talked to")?;

        let mut lines = BufReader::new(stdout).lines();
        let line = match timeout(PATIENCE, lines.next_line()).await {
            Ok(Ok(Some(line))) => line,
            Ok(Ok(None)) => {
                let status = child.wait().await.map_err(failed)?;
                return Err(format!("the kitchen ended before it opened: {status}"));
            }
            Ok(Err(error)) => return Err(failed(error)),
            Err(_) => return Err("the kitchen does not open: it says nothing".to_owned()),
        };
        let address = line.parse();
        let address = address.map_err(|_| format!("the kitchen's address is {line:?}"))?;
        Ok(Self { address, child, open })
    }

    /// Resolves if the kitchen ends by itself.
    pub(crate) async fn ended(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Lets the kitchen finish its orders, send its reports and end. Kills it after [`PATIENCE`].
    pub(crate) async fn close(mut self) -> Result<(), String> {
        drop(self.open);
        match timeout(PATIENCE, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(format!("the kitchen ended badly: {status}")),
            Ok(Err(error)) => Err(format!("the kitchen does not end: {error}")),
            Err(_) => {
                // `kill` waits for the end as well, so that no zombie stays behind.
                let _ = self.child.kill().await;
                Err("the kitchen would not close".to_owned())
            }
        }
    }
}
