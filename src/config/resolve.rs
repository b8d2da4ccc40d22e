//! The settings of a command, from its flags, the environment, the `.env` file and the defaults, in
//! this order.
//!
//! The command line is parsed first without a look at the values ([`Settings`]), so that help is
//! shown and unknown flags are reported whatever the settings are. Then all values are parsed
//! ([`Settings::resolve`]), again and again without those that have proved invalid, until all
//! invalid ones are known.

use std::{
    error::Error as _,
    ffi::{OsStr, OsString},
    marker::PhantomData,
};

use clap::{
    Arg, ArgMatches, Args, Command, FromArgMatches, Id,
    error::{ContextKind, ContextValue, ErrorKind},
    parser::ValueSource,
};

use super::{
    arguments::{All, Selection, SettingGroup, arguments, unchecked, without_environment},
    variables::{Source, Variables},
};
use crate::domain::{Invalid, reject_invisible_in_setting};

/// The settings of a command as the command line gives them: not parsed yet.
pub(crate) struct Settings<C, S = All> {
    flags: Vec<(Id, Vec<OsString>)>,
    types: PhantomData<fn() -> (C, S)>,
}

/// Valid settings.
pub(crate) struct Resolved<C> {
    /// The settings.
    pub config: C,
    /// What is in effect, in the order of the help.
    pub effective: Vec<EffectiveSetting>,
    /// Warnings about variables that look like settings, but are none.
    pub unknown: Vec<String>,
}

/// A setting in effect.
pub(crate) struct EffectiveSetting {
    /// Its variable, or its flag if it has none.
    pub name: String,
    /// Its value. Secrets are hidden.
    pub value: String,
    /// Where the value comes from.
    pub source: Source,
}

/// The values of one setting, from the first source that has any.
struct Input {
    id: Id,
    values: Vec<OsString>,
    source: Source,
}

impl<C: SettingGroup, S: Selection<C>> Settings<C, S> {
    /// Parses all values. Each error names one invalid setting and says what it must be.
    pub fn resolve(self, variables: &Variables) -> Result<Resolved<C>, Vec<String>> {
        let arguments = arguments::<C, S>();
        let (mut inputs, mut errors) = self.inputs(&arguments, variables);
        let command = without_environment(C::augment_args(Command::new("settings")));
        let matches = loop {
            let parsed = command
                .clone()
                .try_get_matches_from(flags(&arguments, &inputs));
            let error = match parsed {
                Ok(matches) => break matches,
                Err(error) => error,
            };
            let (blamed, sentence) = explain(&error, &arguments, &inputs);
            errors.push(sentence);
            let before = inputs.len();
            inputs.retain(|input| Some(&input.id) != blamed.as_ref());
            if inputs.len() == before {
                return Err(errors);
            }
        };

        let config = C::from_arg_matches(&matches).map_err(|error| vec![error.to_string()])?;
        let inconsistent = config.check_all().into_iter().chain(S::check(&config));
        let is_new = |error: &String| !errors.iter().any(|other| share_a_name(error, other));
        let inconsistent: Vec<_> = inconsistent.filter(is_new).collect();
        errors.extend(inconsistent);
        match errors.is_empty() {
            true => Ok(Resolved {
                config,
                effective: effective(&arguments, &inputs),
                unknown: variables.unknown(),
            }),
            false => Err(errors),
        }
    }

    /// The values of all settings that are set, and an error for each flag without a value and for
    /// each value with invisible characters.
    fn inputs(self, arguments: &[Arg], variables: &Variables) -> (Vec<Input>, Vec<String>) {
        let (mut inputs, mut errors) = (Vec::new(), Vec::new());
        for (id, values) in self.flags {
            match values.iter().all(|value| value.is_empty()) {
                // Most likely a variable of the shell that is not set.
                true => errors.push(format!(
                    "{} must not be empty",
                    name(arguments, &id, &Source::Flag)
                )),
                false => inputs.push(Input {
                    id,
                    values,
                    source: Source::Flag,
                }),
            }
        }
        for argument in arguments {
            let is_flag = inputs.iter().any(|input| input.id == *argument.get_id());
            let variable = argument.get_env().and_then(OsStr::to_str);
            if let Some((value, source)) = variable.and_then(|name| variables.find(name))
                && !is_flag
            {
                inputs.push(Input {
                    id: argument.get_id().clone(),
                    values: vec![value],
                    source,
                });
            }
        }
        inputs.retain(|input| match invisible(input) {
            None => true,
            Some(Invalid(why)) => {
                let name = name(arguments, &input.id, &input.source);
                errors.push(format!("{name} {why}"));
                false
            }
        });
        (inputs, errors)
    }
}

impl<C: SettingGroup, S: Selection<C>> Args for Settings<C, S> {
    fn augment_args(command: Command) -> Command {
        let arguments = arguments::<C, S>().into_iter().map(unchecked);
        command.args(arguments)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<C: SettingGroup, S: Selection<C>> FromArgMatches for Settings<C, S> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let arguments = arguments::<C, S>();
        let flags = arguments.iter().filter_map(|argument| {
            let id = argument.get_id();
            let source = matches.value_source(id.as_str())?;
            let values = matches.get_raw(id.as_str())?.map(OsStr::to_owned);
            (source == ValueSource::CommandLine).then(|| (id.clone(), values.collect()))
        });
        Ok(Self {
            flags: flags.collect(),
            types: PhantomData,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Why an input is invalid: it has a character that nobody sees.
fn invisible(input: &Input) -> Option<Invalid> {
    let mut values = input.values.iter().filter_map(|value| value.to_str());
    values.find_map(|value| reject_invisible_in_setting(value).err())
}

/// The inputs as flags of a command line.
fn flags(arguments: &[Arg], inputs: &[Input]) -> Vec<OsString> {
    let flag = |input: &Input, value: &OsString| {
        let mut flag = OsString::from(format!("--{}=", long(arguments, &input.id)));
        flag.push(value);
        flag
    };
    let flags = inputs
        .iter()
        .flat_map(|input| input.values.iter().map(move |value| flag(input, value)));
    flags.collect()
}

fn find<'a>(arguments: &'a [Arg], id: &Id) -> Option<&'a Arg> {
    arguments.iter().find(|argument| argument.get_id() == id)
}

fn long<'a>(arguments: &'a [Arg], id: &'a Id) -> &'a str {
    let argument = find(arguments, id).and_then(Arg::get_long);
    argument.unwrap_or(id.as_str())
}

/// A setting by its variable and its flag, and the line that sets it.
fn name(arguments: &[Arg], id: &Id, source: &Source) -> String {
    let flag = long(arguments, id);
    let variable = find(arguments, id)
        .and_then(Arg::get_env)
        .and_then(OsStr::to_str);
    match (variable, source) {
        (None, _) => format!("--{flag}"),
        (Some(variable), Source::File { .. }) => format!("{variable} (--{flag}, {source})"),
        (Some(variable), _) => format!("{variable} (--{flag})"),
    }
}

/// The setting that an error is about, and a sentence that names it.
fn explain(error: &clap::Error, arguments: &[Arg], inputs: &[Input]) -> (Option<Id>, String) {
    let shown = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        Some(ContextValue::Strings(texts)) => texts.first().map(String::as_str),
        _ => None,
    };
    let id = |kind| {
        let flag = shown(kind)?.split([' ', '=']).next()?.strip_prefix("--")?;
        let mut arguments = arguments.iter();
        let found = arguments.find(|argument| argument.get_long() == Some(flag));
        found.map(|argument| argument.get_id().clone())
    };
    let named = |id: &Id| {
        let source = inputs
            .iter()
            .find(|input| input.id == *id)
            .map(|input| &input.source);
        name(arguments, id, source.unwrap_or(&Source::Default))
    };
    let Some(blamed) = id(ContextKind::InvalidArg) else {
        return (None, first_line(error));
    };

    let subject = named(&blamed);
    let sentence = match error.kind() {
        ErrorKind::ValueValidation => {
            let why = error.source().map(ToString::to_string).unwrap_or_default();
            format!("{subject} {why}")
        }
        ErrorKind::InvalidValue => match error.get(ContextKind::ValidValue) {
            Some(ContextValue::Strings(values)) if !values.is_empty() => {
                format!("{subject} must be {}", values.join(" or "))
            }
            _ => format!("{subject} must not be empty"),
        },
        ErrorKind::InvalidUtf8 => format!("{subject} must be UTF-8"),
        ErrorKind::ArgumentConflict => {
            let other = id(ContextKind::PriorArg).map(|other| named(&other));
            let other = other.unwrap_or_default();
            format!("{subject} and {other} must not both be set")
        }
        ErrorKind::MissingRequiredArgument => format!("{subject} must be set"),
        _ => first_line(error),
    };
    (Some(blamed), sentence)
}

fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    first.trim_start_matches("error: ").to_owned()
}

/// Whether two errors name the same variable, so that one may follow from the other.
fn share_a_name(one: &str, other: &str) -> bool {
    let is_variable = |word: &&str| {
        word.len() > 3
            && word.bytes().any(|byte| byte == b'_')
            && word
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
    };
    let separator = |letter: char| !letter.is_ascii_alphanumeric() && letter != '_';
    let mut names = one.split(separator).filter(is_variable);
    names.any(|name| other.split(separator).any(|word| word == name))
}

fn effective(arguments: &[Arg], inputs: &[Input]) -> Vec<EffectiveSetting> {
    let setting = |argument: &Arg| {
        let input = inputs.iter().find(|input| input.id == *argument.get_id());
        let value = match input {
            Some(_) if argument.is_hide_env_values_set() => "***".to_owned(),
            Some(input) => join(input.values.iter().map(OsString::as_os_str)),
            None => join(argument.get_default_values().iter().map(|value| &**value)),
        };
        let variable = argument.get_env().and_then(OsStr::to_str);
        let flag = || format!("--{}", argument.get_long().unwrap_or_default());
        EffectiveSetting {
            name: variable.map_or_else(flag, str::to_owned),
            value,
            source: input.map_or(Source::Default, |input| input.source.clone()),
        }
    };
    arguments.iter().map(setting).collect()
}

fn join<'a>(values: impl Iterator<Item = &'a OsStr>) -> String {
    let texts: Vec<_> = values.map(OsStr::to_string_lossy).collect();
    texts.join(",")
}
