/// Something that exists once per engine.
#[derive(Debug)]
pub enum Engine<P, S> {
    /// PostgreSQL's.
    Postgres(P),
    /// SQLite's.
    Sqlite(S),
}

/// Runs one expression on whichever engine it is: `on_engine!(pool, pool => expression)`.
///
/// The expression is compiled once per engine, because sqlx knows the engine
/// only by type. It is the one macro of this crate.
macro_rules! on_engine {
    ($engine:expr, $name:ident => $body:expr) => {
        match $engine {
            $crate::database::Engine::Postgres($name) => $body,
            $crate::database::Engine::Sqlite($name) => $body,
        }
    };
}
