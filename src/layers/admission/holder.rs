use uuid::Uuid;

use crate::{
    auth::{Caller, Subject},
    database::Requester,
    domain::PeerAddress,
    transport::{Connection, Peer},
};

/// Whose shares of the budgets a call uses.
#[derive(Debug, Clone)]
pub(super) struct Holder {
    /// `None` for a connection of a trusted proxy, which carries the calls of many callers.
    connection: Option<Connection>,
    /// `None` only for a request without a connection.
    address: Option<Peer>,
    caller: Option<Uuid>,
    is_machine: bool,
}

/// One that has a share of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// A connection, by its id.
    Connection(usize),
    /// A peer address, or the network that counts as one; the Unix sockets together count as one.
    Address(Peer),
    /// A user or an API key.
    Caller(Uuid),
}

/// The keys of a holder.
pub(super) type Keys = [Option<Key>; 3];

impl Holder {
    /// The holder of a request whose caller is not known yet.
    pub fn of(extensions: &http::Extensions) -> Self {
        let connection = extensions.get::<Connection>();
        let address = extensions.get::<PeerAddress>().copied();
        // It is missing if the peer has none.
        let peer = address.map(Peer::Address);
        let peer = peer.or_else(|| connection.map(|_| Peer::UnixSocket));
        let connection = connection.filter(|connection| !connection.is_of_trusted_proxy());
        Self {
            connection: connection.cloned(),
            address: peer.map(Peer::network),
            caller: None,
            is_machine: false,
        }
    }

    /// Sets the authenticated caller. Operators' keys have no share: media servers and relay
    /// workers may use all of a budget.
    pub fn set_caller(&mut self, caller: &Caller) {
        self.connection
            .iter()
            .for_each(Connection::record_authenticated);
        match caller.subject {
            Subject::User { user, .. } => self.caller = Some(user.uuid()),
            Subject::Program { key, .. } => self.caller = Some(key.uuid()),
            Subject::Operator { .. } => {
                self.is_machine = true;
                self.connection.iter().for_each(Connection::record_machine);
            }
        }
    }

    /// Whether it may use what is reserved for media servers and relay workers.
    pub fn is_machine(&self) -> bool {
        self.is_machine
    }

    /// For whom the call uses the database; `None` for media servers and relay workers.
    pub fn requester(&self) -> Option<Requester> {
        if self.is_machine {
            return None;
        }
        let caller = self.caller.map(Requester::Caller);
        caller.or(self.address.map(Requester::Peer))
    }

    /// Those whose shares it uses; none for media servers and relay workers.
    pub fn keys(&self) -> Keys {
        if self.is_machine {
            return [None; 3];
        }
        let connection = self.connection.as_ref();
        [
            connection.map(|connection| Key::Connection(connection.id())),
            self.address.map(Key::Address),
            self.caller.map(Key::Caller),
        ]
    }

    /// Counts a violation of a limit against the connection, which closes after some of them.
    pub fn record_violation(&self) {
        if let Some(connection) = self.connection.as_ref().filter(|_| !self.is_machine) {
            connection.record_violation();
        }
    }
}

impl Key {
    /// The name of its kind, for metrics.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Connection(_) => "connection",
            Self::Address(_) => "address",
            Self::Caller(_) => "caller",
        }
    }
}
