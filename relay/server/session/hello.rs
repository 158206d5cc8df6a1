//! Reads the ClientHello of a session, which comes first on an `sni` listener and after the 200
//! otherwise.

use std::time::Duration;

use super::Session;
use super::end::End;
use crate::authority::ServerName;
use crate::tls::Random;

/// What a session keeps of a ClientHello. The record takes the rest.
pub(super) struct Hello {
    pub(super) server_name: ServerName,
    pub(super) random: Random,
}

impl Session<'_> {
    /// Reads the ClientHello. Its bytes stay buffered, because they go to the destination
    /// unchanged.
    pub(super) async fn read_hello(&mut self, within: Duration) -> Result<Hello, End> {
        let read = self.client.client_hello(within).await?;
        let hello = Hello {
            server_name: read.server_name.clone(),
            random: read.random,
        };
        self.record.client_hello(read);
        Ok(hello)
    }
}
