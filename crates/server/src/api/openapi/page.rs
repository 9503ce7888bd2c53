//! Renders the OpenAPI description as one HTML page: no script, no inline style, works under our own
//! `Content-Security-Policy`.

use std::fmt::Write;

use serde_json::{Map, Value};

pub const STYLE: &str = include_str!("page.css");

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// The whole page.
pub fn render(description: &Value) -> String {
    let mut html = String::new();
    let title = escape(description["info"]["title"].as_str().unwrap_or_default());
    let version = escape(description["info"]["version"].as_str().unwrap_or_default());
    let _ = write!(
        html,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title} API</title>\
         <link rel=\"stylesheet\" href=\"/api/docs.css\"></head><body><header><h1>{title} API</h1>\
         <p>Version {version}. <a href=\"/api/openapi.json\">openapi.json</a></p><p>{}</p></header>",
        prose(description["info"]["description"].as_str().unwrap_or_default())
    );

    // By tag, in the order of the description.
    let mut groups: Vec<(&str, Vec<Operation>)> = vec![];
    for (path, item) in entries(&description["paths"]) {
        for method in METHODS {
            let described = &item[method];
            if described.is_null() {
                continue;
            }
            let tag = described["tags"][0].as_str().unwrap_or("other");
            match groups.iter_mut().find(|(name, _)| *name == tag) {
                Some((_, operations)) => operations.push(Operation { method, path, described }),
                None => groups.push((tag, vec![Operation { method, path, described }])),
            }
        }
    }
    html.push_str("<nav><ul>");
    for (tag, _) in &groups {
        let tag = escape(tag);
        let _ = write!(html, "<li><a href=\"#{tag}\">{tag}</a></li>");
    }
    html.push_str("<li><a href=\"#schemas\">schemas</a></li></ul></nav><main>");
    for (tag, operations) in &groups {
        let tag = escape(tag);
        let _ = write!(html, "<section id=\"{tag}\"><h2>{tag}</h2>");
        for operation in operations {
            operation.render(&mut html);
        }
        html.push_str("</section>");
    }
    html.push_str("<section id=\"schemas\"><h2>schemas</h2>");
    for (name, schema) in entries(&description["components"]["schemas"]) {
        let name = escape(name);
        let _ = write!(html, "<details id=\"schema-{name}\"><summary><code>{name}</code></summary>");
        described(&mut html, schema);
        fields(&mut html, schema);
        html.push_str("</details>");
    }
    html.push_str("</section></main></body></html>\n");
    html
}

struct Operation<'a> {
    method: &'a str,
    path: &'a str,
    described: &'a Value,
}

impl Operation<'_> {
    fn render(&self, html: &mut String) {
        let Self { method, path, described: operation } = self;
        let _ = write!(
            html,
            "<details><summary><b class=\"{method}\">{}</b> <code>{}</code> {}</summary>",
            method.to_uppercase(),
            escape(path),
            prose(operation["summary"].as_str().unwrap_or_default())
        );
        described(html, operation);
        if let Some(parameters) = operation["parameters"].as_array().filter(|list| !list.is_empty()) {
            html.push_str("<h3>Parameters</h3><dl>");
            for parameter in parameters {
                let _ = write!(
                    html,
                    "<dt><code>{}</code> in {} {}</dt><dd>{}</dd>",
                    escape(parameter["name"].as_str().unwrap_or_default()),
                    escape(parameter["in"].as_str().unwrap_or_default()),
                    kind(&parameter["schema"]),
                    prose(parameter["description"].as_str().unwrap_or_default())
                );
            }
            html.push_str("</dl>");
        }
        for (media_type, body) in entries(&operation["requestBody"]["content"]) {
            let _ = write!(html, "<h3>Body</h3><p>{} {}</p>", escape(media_type), kind(&body["schema"]));
        }
        html.push_str("<h3>Answers</h3><dl>");
        for (status, response) in entries(&operation["responses"]) {
            let _ = write!(html, "<dt><code>{}</code>", escape(status));
            for (_, body) in entries(&response["content"]) {
                let _ = write!(html, " {}", kind(&body["schema"]));
            }
            let text = prose(response["description"].as_str().unwrap_or_default());
            let _ = write!(html, "</dt><dd>{text}</dd>");
        }
        html.push_str("</dl></details>");
    }
}

fn described(html: &mut String, value: &Value) {
    if let Some(text) = value["description"].as_str() {
        let _ = write!(html, "<p>{}</p>", prose(text));
    }
}

/// The fields of an object, the values of a choice, or the parts of a union.
fn fields(html: &mut String, schema: &Value) {
    if let Some(values) = schema["enum"].as_array() {
        let _ = write!(html, "<p>One of {}</p>", codes(values));
    }
    for part in ["allOf", "oneOf", "anyOf"].iter().filter_map(|key| schema[key].as_array()).flatten() {
        let _ = write!(html, "<p>{}</p>", kind(part));
        fields(html, part);
    }
    if schema["properties"].is_null() {
        return;
    }
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    html.push_str("<dl>");
    for (name, field) in entries(&schema["properties"]) {
        let _ = write!(
            html,
            "<dt><code>{}</code> {}{}</dt><dd>{}</dd>",
            escape(name),
            kind(field),
            if required.contains(&name) { "" } else { ", optional" },
            prose(field["description"].as_str().unwrap_or_default())
        );
    }
    html.push_str("</dl>");
}

/// A type in a few words, with links to schemas.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()) {
        let name = escape(name);
        return format!("<a href=\"#schema-{name}\">{name}</a>");
    }
    if let Some(parts) = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array()) {
        return parts.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    if let Some([only]) = schema["enum"].as_array().map(Vec::as_slice) {
        return codes(std::slice::from_ref(only));
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => vec![],
    };
    let mut text = types.iter().map(|name| escape(name)).collect::<Vec<_>>().join(" or ");
    if let Some(format) = schema["format"].as_str() {
        let _ = write!(text, " ({})", escape(format));
    }
    if types.contains(&"array") {
        let _ = write!(text, " of {}", kind(&schema["items"]));
    }
    text
}

fn entries(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    static NONE: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    value.as_object().unwrap_or(&NONE).iter().map(|(key, value)| (key.as_str(), value))
}

fn codes(values: &[Value]) -> String {
    values
        .iter()
        .map(|value| format!("<code>{}</code>", escape(value.as_str().unwrap_or_default())))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Escaped text; what stands between backticks is code.
fn prose(text: &str) -> String {
    let mut html = String::new();
    for (index, part) in text.split('`').enumerate() {
        let part = escape(part);
        if index % 2 == 1 {
            let _ = write!(html, "<code>{part}</code>");
        } else {
            html.push_str(&part);
        }
    }
    html
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn shows_operations_parameters_bodies_and_schemas() {
        let page = render(&json!({
            "info": {"title": "A & B", "version": "1", "description": "Send `x`."},
            "paths": {"/things/{id}": {"put": {
                "tags": ["things"], "summary": "Changes <it>",
                "parameters": [{"name": "id", "in": "path", "schema": {"type": "string", "format": "uuid"}}],
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}},
                "responses": {"200": {"description": "Done", "content": {"application/json": {"schema": {"type": "array",
                    "items": {"$ref": "#/components/schemas/Thing"}}}}}}
            }}},
            "components": {"schemas": {
                "Thing": {"type": "object", "description": "One.", "required": ["name"], "properties": {
                    "name": {"type": "string"}, "is": {"type": "string", "enum": ["thing"]}, "kind": {"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/Kind"}]}}},
                "Kind": {"type": "string", "enum": ["a", "b"]}
            }}
        }));
        for expected in [
            "<h1>A &amp; B API</h1>",
            "Send <code>x</code>.",
            "<b class=\"put\">PUT</b> <code>/things/{id}</code> Changes &lt;it&gt;",
            "<code>id</code> in path string (uuid)",
            "application/json <a href=\"#schema-Thing\">Thing</a>",
            "<code>200</code> array of <a href=\"#schema-Thing\">Thing</a>",
            "<code>name</code> string</dt>",
            "<code>is</code> <code>thing</code>, optional",
            "<code>kind</code> null or <a href=\"#schema-Kind\">Kind</a>, optional",
            "One of <code>a</code>, <code>b</code>",
        ] {
            assert!(page.contains(expected), "{expected} is not in {page}");
        }
        assert!(!page.contains("<script") && !page.contains("style="));
    }
}
