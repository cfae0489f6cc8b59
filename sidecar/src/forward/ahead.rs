//! A connection that is opened before the last one is closed, so that nothing dips.

use tokio::task::{JoinError, JoinHandle};

use super::connection::{ConnectError, Connection};

/// How an attempt to open one ended.
pub type Dialled = Result<Result<Connection, ConnectError>, JoinError>;

/// A connection opened ahead.
pub enum Ahead {
    /// There is none.
    None,
    /// It is being opened.
    Opening(JoinHandle<Result<Connection, ConnectError>>),
    /// It is open, and nothing was sent on it.
    Ready(Box<Connection>),
}

/// What became of it.
pub enum News {
    /// The attempt ended.
    Opened(Dialled),
    /// It was open, and broke.
    Broken,
}

/// What becomes of the connection ahead. Its reads are kept pending too. Cancel safe.
pub async fn next_ahead(ahead: &mut Ahead) -> News {
    match ahead {
        Ahead::None => std::future::pending().await,
        Ahead::Opening(task) => News::Opened(task.await),
        Ahead::Ready(connection) => {
            connection.watch().await;
            News::Broken
        }
    }
}
