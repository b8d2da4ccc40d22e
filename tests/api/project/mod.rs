//! ProjectService.
