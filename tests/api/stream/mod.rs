//! StreamService.
