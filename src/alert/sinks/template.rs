//! Templates of message bodies, checked before they are needed: every sample must render, and as JSON where JSON is
//! promised. Knows nothing of where the body goes.

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};

use crate::alert::message::{Message, Place, samples};

const NAME: &str = "body";
/// Steps a template may take: one that loops without end is a mistake like any other.
const FUEL: u64 = 1_000_000;

pub struct Template {
    environment: Environment<'static>,
    is_json: bool,
}

impl Template {
    /// In JSON every `{{ value }}` is written as JSON, quotes included. A field that does not exist is an error.
    pub fn new(text: String, is_json: bool, place: &Place) -> Result<Self, String> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(move |_| if is_json { AutoEscape::Json } else { AutoEscape::None });
        environment.set_fuel(Some(FUEL));
        environment.add_template_owned(NAME, text).map_err(|error| told(&error))?;
        let template = Self { environment, is_json };
        for batch in samples() {
            let message = Message::new(&batch, place);
            let body = template.render(&message)?;
            if is_json && let Err(error) = serde_json::from_str::<serde_json::Value>(&body) {
                return Err(format!(
                    "the template does not give JSON ({error}); write values without quotes around them, as in \
                     {{\"text\": {{{{ summary }}}}}}, or set another Content-Type; it gave: {}",
                    body.chars().take(200).collect::<String>()
                ));
            }
        }
        Ok(template)
    }

    pub fn render(&self, message: &Message) -> Result<String, String> {
        let template = self.environment.get_template(NAME).map_err(|error| told(&error))?;
        template.render(Value::from(Serde(message))).map_err(|error| told(&error))
    }

    pub fn is_json(&self) -> bool {
        self.is_json
    }
}

fn told(error: &minijinja::Error) -> String {
    let what = error.detail().map_or_else(|| error.kind().to_string(), |detail| format!("{}: {detail}", error.kind()));
    match error.line() {
        Some(line) => format!("line {line} of the template: {what}"),
        None => format!("the template: {what}"),
    }
}
