//! What carries the media between ffmpeg and the far side, and puts keys in place on the way.
//!
//! ffmpeg is given an address on this machine with a random name, good for one connection. So no key stands
//! where other users of the machine can list it, the address that was checked is the
//! one that is connected to, and what the far side answers is known and not guessed
//! from a log.
