use std::borrow::Cow;

/// The fields that nginx-rtmp writes itself. What the publisher appends to its stream name
/// follows them as it is, so that it could name them again.
const RESERVED: [&str; 13] = [
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

/// The fields of a form. Of several of one name the first counts.
#[derive(Debug)]
pub(super) struct Form<'a> {
    fields: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Form<'a> {
    /// Takes what is `application/x-www-form-urlencoded`; of any text something can be made.
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

    /// Whether a field that nginx-rtmp writes is there twice: a publisher has forged one.
    pub(super) fn is_forged(&self) -> bool {
        let count = |name| {
            self.fields
                .iter()
                .filter(|(field, _)| field == name)
                .count()
        };
        RESERVED.iter().any(|name| count(name) > 1)
    }
}

#[cfg(test)]
mod tests {
    use super::Form;

    #[test]
    fn of_several_fields_the_first_counts() {
        let form = Form::parse(b"name=sk_1&addr=203.0.113.5&x=1&x=2&name=other");
        assert_eq!(form.get("name"), "sk_1");
        assert_eq!(form.get("x"), "1");
        assert_eq!(form.get("absent"), "");
        assert!(form.is_forged());
    }

    #[test]
    fn only_what_nginx_writes_must_not_be_there_twice() {
        assert!(!Form::parse(b"name=sk_1&addr=203.0.113.5&x=1&x=2&token=a").is_forged());
        for name in ["app", "clientid", "call", "addr", "epoch", "%6eame", "time"] {
            let text =
                format!("app=live&clientid=1&call=publish&name=k&addr=a&time=1&epoch=1&{name}=");
            assert!(Form::parse(text.as_bytes()).is_forged(), "{name}");
        }
    }

    #[test]
    fn what_is_escaped_is_read() {
        let form = Form::parse(b"flashver=FMLE/3.0%20(compatible%3B%20Lavf59.27&tcurl=rtmp://127.0.0.1:11935/live&pageurl=");
        assert_eq!(form.get("flashver"), "FMLE/3.0 (compatible; Lavf59.27");
        assert_eq!(form.get("tcurl"), "rtmp://127.0.0.1:11935/live");
        assert_eq!(form.get("pageurl"), "");
    }
}
