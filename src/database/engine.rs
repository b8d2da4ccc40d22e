/// A value for one of the two engines.
#[derive(Debug)]
pub enum Engine<P, S> {
    /// The value for PostgreSQL.
    Postgres(P),
    /// The value for SQLite.
    Sqlite(S),
}

/// Runs one expression on whichever engine it is: `on_engine!(pool, pool => expression)`.
///
/// The expression is compiled once per engine, because sqlx knows the engine only by type.
macro_rules! on_engine {
    ($engine:expr, $name:ident => $body:expr) => {
        match $engine {
            $crate::database::Engine::Postgres($name) => $body,
            $crate::database::Engine::Sqlite($name) => $body,
        }
    };
}
