//! Callbacks as the description of the server says them: what receivers may count on.

use utoipa::ToSchema;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::{OperationBuilder, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ComponentsBuilder, ObjectBuilder, Type};
use utoipa::openapi::{HttpMethod, OpenApi, OpenApiBuilder, PathsBuilder, Ref, Required, ResponseBuilder};

use super::payload::{EndPayload, ErasedPayload, FilePayload};
use crate::job::CallbackEvent;

/// The webhooks, one for each event, and the schemas that they need.
#[must_use]
pub fn described() -> OpenApi {
    let webhooks = CallbackEvent::ALL.into_iter().fold(PathsBuilder::new(), |webhooks, event| {
        webhooks.path(event.word(), PathItem::new(HttpMethod::Post, operation(event)))
    });
    let mut schemas = Vec::new();
    EndPayload::schemas(&mut schemas);
    FilePayload::schemas(&mut schemas);
    ErasedPayload::schemas(&mut schemas);
    let components = ComponentsBuilder::new()
        .schema_from::<EndPayload<'_>>()
        .schema_from::<FilePayload<'_>>()
        .schema_from::<ErasedPayload<'_>>()
        .schemas_from_iter(schemas);
    OpenApiBuilder::new().webhooks(Some(webhooks)).components(Some(components.build())).build()
}

fn operation(event: CallbackEvent) -> OperationBuilder {
    let name = match event {
        CallbackEvent::Completed | CallbackEvent::Failed | CallbackEvent::Cancelled => EndPayload::name(),
        CallbackEvent::FileStored => FilePayload::name(),
        CallbackEvent::Erased => ErasedPayload::name(),
    };
    let body = ContentBuilder::new().schema(Some(Ref::from_schema_name(name))).build();
    let answers = [
        ("2XX", "It is taken. To one that was taken before, too: a callback comes at least once."),
        ("410", "The address is gone for good; nothing more is sent there about this job."),
        ("default", "It is sent again later, with the same body."),
    ];
    let operation = OperationBuilder::new()
        .tag("Callbacks")
        .operation_id(Some(event.word().replace('.', "_")))
        .summary(Some(format!("`{}`", event.word())))
        .description(Some(
            "Sent to the job's `completionCallback` if its `callbackEvents` name it, with the job's `callbackHeaders`. Signed \
             after Standard Webhooks 1.0.0.",
        ))
        .parameter(header("webhook-id", true, "Stands for what happened to the job; the same at every try."))
        .parameter(header("webhook-timestamp", true, "The time of this try, in seconds since the Unix epoch."))
        .parameter(header("webhook-signature", false, "`v1,` and base64, once for each secret that is good."))
        .request_body(Some(RequestBodyBuilder::new().content("application/json", body).required(Some(Required::True)).build()));
    answers.into_iter().fold(operation, |operation, (status, meaning)| {
        operation.response(status, ResponseBuilder::new().description(meaning).build())
    })
}

fn header(name: &str, is_always_there: bool, description: &str) -> ParameterBuilder {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(if is_always_there { Required::True } else { Required::False })
        .description(Some(description))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
}
