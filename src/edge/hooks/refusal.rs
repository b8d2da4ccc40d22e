use crate::{
    edge::connection::Refused,
    proto::v1::{EndReason, ErrorReason},
};

/// Why a publisher is refused, for the logs of media servers.
pub(super) fn sentence(refused: Refused) -> &'static str {
    match refused {
        Refused::Answered(reason) => answered(reason),
        Refused::Stopped(reason) => stopped(reason),
        Refused::Away => "the control plane does not answer",
        Refused::GraceOver => "the control plane has not answered for too long",
    }
}

/// Whether the control plane has decided so, rather than been silent.
pub(super) fn is_decided(refused: Refused) -> bool {
    match refused {
        Refused::Answered(_) | Refused::Stopped(_) => true,
        Refused::Away | Refused::GraceOver => false,
    }
}

fn answered(reason: ErrorReason) -> &'static str {
    match reason {
        ErrorReason::StreamKeyInvalid => "the stream key opens no project",
        ErrorReason::PublishConflict => "another publisher has the project",
        ErrorReason::ProjectDisabled => "the project is disabled",
        ErrorReason::PublishHeld => "the owner holds publishers off",
        ErrorReason::ConnectionEnded => "this connection has ended",
        ErrorReason::NodeSuperseded => "another run of this media server is the current one",
        _ => "the control plane refuses",
    }
}

fn stopped(reason: EndReason) -> &'static str {
    match reason {
        EndReason::StoppedByOwner => "the owner has stopped the stream",
        EndReason::TakenOver => "another publisher has taken over",
        EndReason::KeyRotated => "the stream key is not valid any more",
        EndReason::ProjectDisabled => "the project is disabled",
        EndReason::ProjectDeleted => "the project is deleted",
        _ => "the stream has ended",
    }
}
