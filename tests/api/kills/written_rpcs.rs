use std::collections::BTreeSet;

use crate::contract::descriptors::requests;

/// The RPCs whose acknowledged writes survive kills.
pub const WRITTEN_RPCS: [&str; 36] = [
    "BeginPublish",
    "ChangePassword",
    "ClaimRelays",
    "CreateApiKey",
    "CreateDestination",
    "CreateOperatorKey",
    "CreateProject",
    "CreateWebhook",
    "DeleteDestination",
    "DeleteMe",
    "DeleteProject",
    "DeleteWebhook",
    "EndPublish",
    "ExchangeApiKey",
    "HeartbeatPublish",
    "RefreshTokens",
    "ReportRelays",
    "ResumeUser",
    "RevokeApiKey",
    "RevokeOperatorKey",
    "RevokeSession",
    "RotateStreamKey",
    "RotateWebhookSecret",
    "SetOrganizationQuota",
    "SignIn",
    "SignOut",
    "SignUp",
    "StartRelay",
    "StopRelay",
    "StopStream",
    "SuspendUser",
    "SyncNode",
    "UpdateDestination",
    "UpdateMe",
    "UpdateProject",
    "UpdateWebhook",
];

/// The RPCs that need a received message, an authenticator, a passkey or an OpenID Connect issuer.
/// Their transactions are like those of SignUp, SignIn, ChangePassword and UpdateMe. Those of
/// organizations are among them, because who creates or joins one has verified an address. And those
/// that need an endpoint of a webhook: one writes nothing, the other one a number that nothing
/// depends on. Those of nodes are like those that suspend and resume users.
const NOT_WRITTEN: [&str; 36] = [
    "DrainNode",
    "ResumeNode",
    "AcceptInvitation",
    "AdoptApiKey",
    "CreateInvitation",
    "CreateOrganization",
    "DeleteOrganization",
    "LeaveOrganization",
    "RemoveMember",
    "ResumeOrganization",
    "RevokeInvitation",
    "SuspendOrganization",
    "TransferProject",
    "UpdateMember",
    "UpdateOrganization",
    "CancelEmailChange",
    "ConfirmEmailChange",
    "RequestEmailChange",
    "Reauthenticate",
    "ConfirmSecondFactor",
    "CreateSecondFactor",
    "DeleteSecondFactor",
    "RegenerateRecoveryCodes",
    "BeginPasskeyAuthentication",
    "BeginPasskeyRegistration",
    "DeletePasskey",
    "FinishPasskeyRegistration",
    "SignInWithPasskey",
    "UpdatePasskey",
    "RedeliverWebhook",
    "RequestEmailVerification",
    "RequestPasswordReset",
    "ResetPassword",
    "SignInWithIdToken",
    "TestWebhook",
    "VerifyEmail",
];

#[test]
fn every_rpc_that_writes_is_checked_or_listed() {
    let paths = requests();
    let rpcs = paths.keys().map(|path| path.rsplit_once('/').unwrap().1);
    let reads = ["Check", "Get", "List", "Reveal", "Watch"];
    let is_read = |rpc: &&str| reads.iter().any(|read| rpc.starts_with(read));
    let writing: BTreeSet<_> = rpcs.filter(|rpc| !is_read(rpc)).collect();
    let known = WRITTEN_RPCS.into_iter().chain(NOT_WRITTEN);
    assert_eq!(writing, known.collect());
}
