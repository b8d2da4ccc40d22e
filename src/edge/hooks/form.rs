use std::borrow::Cow;

/// The fields that nginx-rtmp writes itself. The publisher's own query string follows them
/// unescaped, so that a publisher could repeat them.
const RESERVED_FIELDS: [&str; 13] = [
    "app",
    "flashver",
    "swfurl",
    "tcurl",
    "pageurl",
    "addr",
    "clientid",
    "call",
    "name",
    "type",
    "time",
    "timestamp",
    "epoch",
];

/// The fields of an `application/x-www-form-urlencoded` text.
#[derive(Debug)]
pub(super) struct Form<'a> {
    fields: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Form<'a> {
    /// Parses a text; any text is a form.
    pub(super) fn parse(text: &'a [u8]) -> Self {
        let fields = url::form_urlencoded::parse(text).collect();
        Self { fields }
    }

    /// The first field of a name; empty if there is none.
    pub(super) fn get(&self, name: &str) -> &str {
        let mut fields = self.fields.iter();
        let found = fields.find(|(field, _)| field == name);
        found.map_or("", |(_, value)| value)
    }

    /// Whether a field that nginx-rtmp writes occurs twice: the publisher has forged one.
    pub(super) fn is_forged(&self) -> bool {
        let count = |name| {
            let fields = self.fields.iter();
            fields.filter(|(field, _)| field == name).count()
        };
        RESERVED_FIELDS.iter().any(|name| count(name) > 1)
    }
}

#[cfg(test)]
mod tests {
    use super::Form;

    #[test]
    fn the_first_of_several_fields_counts() {
        let form = Form::parse(b"name=sk_1&addr=203.0.113.5&x=1&x=2&name=other");
        assert_eq!(form.get("name"), "sk_1");
        assert_eq!(form.get("x"), "1");
        assert_eq!(form.get("absent"), "");
        assert!(form.is_forged());
    }

    #[test]
    fn only_reserved_fields_must_not_occur_twice() {
        assert!(!Form::parse(b"name=sk_1&addr=203.0.113.5&x=1&x=2&token=a").is_forged());
        for name in ["app", "clientid", "call", "addr", "epoch", "%6eame", "time"] {
            let text =
                format!("app=live&clientid=1&call=publish&name=k&addr=a&time=1&epoch=1&{name}=");
            assert!(Form::parse(text.as_bytes()).is_forged(), "{name}");
        }
    }

    #[test]
    fn escaped_values_are_decoded() {
        let form = Form::parse(b"flashver=FMLE/3.0%20(compatible%3B%20Lavf59.27&tcurl=rtmp://127.0.0.1:11935/live&pageurl=");
        assert_eq!(form.get("flashver"), "FMLE/3.0 (compatible; Lavf59.27");
        assert_eq!(form.get("tcurl"), "rtmp://127.0.0.1:11935/live");
        assert_eq!(form.get("pageurl"), "");
    }
}
