//! How calls are answered, whichever RPC it is: in time, and not too many at once.

mod deadlines;
mod overload;
