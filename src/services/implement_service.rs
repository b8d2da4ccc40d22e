/// Implements the generated trait of a service: each RPC calls the method of the same name that
/// returns the service's own errors.
macro_rules! implement_service {
    ($service:ty as $trait:path {
        $(type $stream:ident = $messages:ty;)*
        $(rpc $method:ident($request:ty) -> $response:ty;)+
    }) => {
        #[tonic::async_trait]
        impl $trait for $service {
            $(type $stream = $messages;)*
            $(async fn $method(
                &self,
                request: tonic::Request<$request>,
            ) -> Result<tonic::Response<$response>, tonic::Status> {
                let result: $crate::error::Result<_> = <$service>::$method(self, request).await;
                Ok(result?)
            })+
        }
    };
}

pub(super) use implement_service;
