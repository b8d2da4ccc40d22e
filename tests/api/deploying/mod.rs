//! What operators do with the program: moving, saving, packing and restarting it.

mod copying;
mod filled;
