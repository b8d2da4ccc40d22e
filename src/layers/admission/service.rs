use std::{
    mem,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use http::{HeaderMap, HeaderName, Request, Response, request::Parts};
use http_body::Body;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Bytes;
use tonic::{Code, Status, metadata::MetadataMap, service::Interceptor};
use tower::{BoxError, Service};

use super::{
    accounted_body::{AccountedBody, StreamAccount, held},
    budgets::{Budgets, Resource, Share},
    call_limits,
    holder::Holder,
    receive::{CALL_MEMORY, CallBody, Conversation, Received, Receiver, drain, poll_once},
};
use crate::{
    auth::CallAuthorization, database::Requester, error::Error, layers::method_info::MethodInfo,
};

/// The gRPC header for the compression of a request.
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// The header with the details of a status. Every status of this server has it.
const STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// Admits calls within the budgets.
///
/// 1. A call is refused if its metadata is too large, or if its connection has too many calls.
/// 2. It is authorized by its headers. Only media servers and relay workers are authorized
///    while the limit of concurrent calls is reached.
/// 3. Its request is received, in time and up to the size of its RPC.
/// 4. It takes the permit of a running call until its response begins.
/// 5. Its response takes memory until it is written.
///
/// A refused call is answered after the rest of its request was read, if that arrives soon.
#[derive(Debug, Clone)]
pub(in crate::layers) struct Admission<S, A> {
    pub inner: S,
    /// Authorizes calls of `sluice.v1`.
    pub authorize: A,
    pub budgets: Budgets,
}

/// In the extensions of a response: the call was refused because of overload.
#[derive(Debug, Clone, Copy)]
pub(in crate::layers) struct LoadShedMarker;

impl<S, A, B, R> Service<Request<B>> for Admission<S, A>
where
    S: Service<Request<CallBody<B>>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    A: Interceptor,
    B: Body<Data = Bytes, Error: Into<BoxError> + Send> + Send + Unpin + 'static,
    R: Body<Data = Bytes> + Send + Unpin + 'static,
    R::Error: Send + Unpin,
{
    type Response = Response<AccountedBody<R>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (head, body) = request.into_parts();
        let mut call = Call {
            budgets: self.budgets.clone(),
            holder: Holder::of(&head.extensions),
            method: MethodInfo::attached(&head.extensions),
        };
        let head = call.authorize(head, &mut self.authorize);
        // Calls the instance whose `poll_ready` was called, and leaves the clone.
        let clone = self.inner.clone();
        let inner = mem::replace(&mut self.inner, clone);
        Box::pin(call.run(inner, head, body))
    }
}

/// A call with its holder.
#[derive(Debug)]
struct Call {
    budgets: Budgets,
    holder: Holder,
    /// `None` for an unknown RPC.
    method: Option<&'static MethodInfo>,
}

/// What an admitted call holds.
struct Admitted {
    received: Received,
    permit: Option<Share>,
    /// The share of a stream without a caller.
    slot: Option<Share>,
}

impl Call {
    /// Checks the headers of a call. Authorizes a call of `sluice.v1`, and learns its caller.
    fn authorize(&mut self, head: Parts, by: &mut impl Interceptor) -> Result<Parts, Refusal> {
        call_limits::check(&head)?;
        let Some(method) = self.method.filter(|method| method.is_sluice) else {
            return Ok(head);
        };
        // Before any work is done: a late response costs as much as one in time.
        if !method.is_machine_method {
            self.budgets.check_calls(&self.holder)?;
        }
        let head = intercept(by, head)?;
        if let Some(authorization) = head.extensions.get::<CallAuthorization>() {
            self.holder.set_caller(authorization.caller());
        }
        self.budgets.check_calls(&self.holder)?;
        Ok(head)
    }

    async fn run<S, B, R>(
        self,
        mut inner: S,
        head: Result<Parts, Refusal>,
        mut body: B,
    ) -> Result<Response<AccountedBody<R>>, S::Error>
    where
        S: Service<Request<CallBody<B>>, Response = Response<R>>,
        B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
        R: Body<Data = Bytes> + Unpin,
    {
        let head = match head {
            Ok(head) => head,
            Err(refusal) => return Ok(self.refuse(refusal, &mut body).await),
        };
        let method = self.method.filter(|_| !is_compressed(&head.headers));
        let Some(method) = method else {
            // The services refuse it by its headers.
            let request = Request::from_parts(head, Either::Left(Full::default()));
            let response = inner.call(request).await?;
            drain(&mut body, &self.budgets, &self.holder, false).await;
            return Ok(response.map(|body| AccountedBody::unary(None, body)));
        };
        let admitted = match self.admit(method, &mut body).await {
            Ok(admitted) => admitted,
            Err(refusal) => return Ok(self.refuse(refusal, &mut body).await),
        };

        let Received {
            bytes,
            memory,
            frames,
        } = admitted.received;
        let body = match method.is_conversation {
            false => Either::Left(Full::new(bytes)),
            true => Either::Right(Conversation::new(body, bytes, frames)),
        };
        let call = inner.call(Request::from_parts(head, body));
        let response = Requester::scope(self.holder.requester(), call).await?;
        drop(admitted.permit);
        if is_decoding_error(&response) {
            return Ok(Refusal::from(Error::RequestMalformed).into_response());
        }
        if method.is_stream {
            let account = StreamAccount {
                budgets: self.budgets,
                holder: self.holder,
                _slot: admitted.slot,
            };
            return Ok(response.map(|body| AccountedBody::stream(body, account)));
        }
        Ok(self.account_unary(response, memory).await)
    }

    /// Receives the request, and takes what the call needs to run.
    async fn admit<B>(&self, method: &MethodInfo, body: &mut B) -> Result<Admitted, Refusal>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
    {
        let receiver = Receiver {
            budgets: &self.budgets,
            holder: &self.holder,
            max_message_size: method.max_request_size,
            is_conversation: method.is_conversation,
        };
        let received = receiver.receive(body).await?;
        let is_anonymous_stream = method.is_stream && !method.is_sluice;
        let take_slot = || self.budgets.take(Resource::Streams, &self.holder, 1);
        let slot = is_anonymous_stream.then(take_slot).transpose()?;
        // A health check is answered at once, and never waits.
        let needs_permit = method.is_sluice || method.is_stream;
        let take_permit = || self.budgets.take(Resource::Calls, &self.holder, 1);
        let permit = needs_permit.then(take_permit).transpose()?;
        Ok(Admitted {
            received,
            permit,
            slot,
        })
    }

    /// Takes the memory of a unary response until it is written. Its first frame is its
    /// message, which the service would otherwise keep until the peer reads.
    async fn account_unary<R>(
        &self,
        response: Response<R>,
        mut memory: Share,
    ) -> Response<AccountedBody<R>>
    where
        R: Body<Data = Bytes> + Unpin,
    {
        let (head, mut body) = response.into_parts();
        let first = poll_once(pin!(body.frame())).await.flatten();
        let Some(Ok(frame)) = first else {
            return Response::from_parts(head, AccountedBody::unary(first, body));
        };
        let size = frame.data_ref().map_or(0, Bytes::len).max(CALL_MEMORY);
        // A small difference is not worth it.
        let is_right = (memory.amount() / 2..=memory.amount()).contains(&size);
        if !is_right && let Err(error) = memory.resize(&self.holder, size) {
            return Refusal::from(error).into_response();
        }
        let frame = frame.map_data(|data| held(data, memory));
        Response::from_parts(head, AccountedBody::unary(Some(Ok(frame)), body))
    }

    /// The response to a refused call, once the rest of its request was read.
    async fn refuse<B, R>(&self, refusal: Refusal, body: &mut B) -> Response<AccountedBody<R>>
    where
        B: Body<Data = Bytes> + Unpin,
        R: Body,
    {
        drain(body, &self.budgets, &self.holder, refusal.is_shed).await;
        refusal.into_response()
    }
}

/// Why a call is not admitted.
struct Refusal {
    status: Status,
    is_shed: bool,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self {
            is_shed: matches!(error, Error::Overloaded(_)),
            status: error.into(),
        }
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self {
            status,
            is_shed: false,
        }
    }
}

impl Refusal {
    fn into_response<R: Body>(self) -> Response<AccountedBody<R>> {
        let mut response = self.status.into_http::<()>();
        if self.is_shed {
            response.extensions_mut().insert(LoadShedMarker);
        }
        response.map(|()| AccountedBody::empty())
    }
}

/// Runs an interceptor on the headers of a request.
fn intercept(interceptor: &mut impl Interceptor, mut head: Parts) -> Result<Parts, Status> {
    let metadata = MetadataMap::from_headers(mem::take(&mut head.headers));
    let extensions = mem::take(&mut head.extensions);
    let request = tonic::Request::from_parts(metadata, extensions, ());
    let (metadata, extensions, ()) = interceptor.call(request)?.into_parts();
    head.headers = metadata.into_headers();
    head.extensions = extensions;
    Ok(head)
}

/// Whether the request is compressed, which no service accepts.
fn is_compressed(headers: &HeaderMap) -> bool {
    let encoding = headers.get(GRPC_ENCODING);
    encoding.is_some_and(|encoding| encoding != "identity")
}

/// Whether a service could not decode the message. tonic answers INTERNAL with the text of
/// its decoder then, and without details, which every status of ours has.
fn is_decoding_error<R>(response: &Response<R>) -> bool {
    let headers = response.headers();
    let code = headers.get(Status::GRPC_STATUS);
    let is_internal =
        |code: &http::HeaderValue| Code::from_bytes(code.as_bytes()) == Code::Internal;
    code.is_some_and(is_internal) && !headers.contains_key(STATUS_DETAILS)
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, future::pending, pin::pin};

    use http::{Request, Response};
    use http_body_util::Full;
    use hyper::body::Bytes;
    use tower::{Service, service_fn};

    use super::{Admission, Budgets, CallBody, LoadShedMarker};
    use crate::layers::{admission::BudgetLimits, method_info::MethodInfo};

    fn request() -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(Bytes::from_static(&[0; 5])));
        let method = MethodInfo::by_path("/sluice.v1.ProjectService/GetProject").unwrap();
        method.attach(request.extensions_mut());
        request
    }

    async fn never_answer(
        _: Request<CallBody<Full<Bytes>>>,
    ) -> Result<Response<tonic::body::Body>, Infallible> {
        pending().await
    }

    fn allow(request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
        Ok(request)
    }

    #[tokio::test]
    async fn a_refused_call_is_marked_whether_it_was_read_or_not() {
        let limits = BudgetLimits {
            calls: 1,
            memory: 1024 * 1024,
        };
        let mut service = Admission {
            inner: service_fn(never_answer),
            authorize: allow,
            budgets: Budgets::new(limits),
        };
        // Both calls begin before one has the permit.
        let (first, second) = (service.call(request()), service.call(request()));
        let mut first = pin!(first);

        let refused = tokio::select! {
            biased;
            _ = &mut first => panic!("it has the permit"),
            refused = second => refused.unwrap(),
        };
        let unread = service.call(request()).await.unwrap();

        for refused in [refused, unread] {
            assert_eq!(refused.headers()["grpc-status"], "8");
            assert!(refused.extensions().get::<LoadShedMarker>().is_some());
        }
    }
}
