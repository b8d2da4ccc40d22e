// The reusable part of passkeys: their ceremonies in the browser, for the options and answers of
// the API.

import type { Client } from "@connectrpc/connect";

import type { AuthService } from "../gen/sluice/v1/auth_pb";

type Auth = Client<typeof AuthService>;

// Registers a passkey of the signed-in user. The proof is the password and, if the account has a
// second factor, a code or an assertion. Recovery codes are shown only now.
export async function registerPasskey(
  auth: Auth,
  displayName: string,
  proof: { password?: string; secondFactorCode?: string; passkeyAssertion?: string },
) {
  const { creationOptions } = await auth.beginPasskeyRegistration(proof);
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(JSON.parse(creationOptions));
  const credential = await navigator.credentials.create({ publicKey });
  return auth.finishPasskeyRegistration({ displayName, credential: JSON.stringify(credential) });
}

// Lets the user show a passkey: for `signInWithPasskey`, or as the `passkeyAssertion` of another
// call. It works once, within five minutes. `auth` needs no token.
export async function passkeyAssertion(auth: Auth): Promise<string> {
  const { requestOptions } = await auth.beginPasskeyAuthentication({});
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(JSON.parse(requestOptions));
  const credential = await navigator.credentials.get({ publicKey });
  return JSON.stringify(credential);
}
