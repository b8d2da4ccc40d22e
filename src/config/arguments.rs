//! The arguments of commands: which settings a command has, and in which sections of its help.

use std::ffi::{OsStr, OsString};

use clap::{
    Arg, Args, Command, Id,
    builder::{PossibleValue, Resettable, TypedValueParser},
};

/// Settings that are described and checked as a whole.
pub(crate) trait SettingGroup: Args {
    /// The first setting of each section of the help, with the heading of the section.
    const SECTIONS: &'static [(&'static str, &'static str)];

    /// Checks the settings against each other. Each error names a variable.
    fn check_all(&self) -> Vec<String>;
}

/// Which of the settings a command uses.
pub(crate) trait Selection<C> {
    /// Whether the command uses a setting of a section.
    fn includes(setting: &str, section: &str) -> bool;

    /// What the command needs beyond valid settings. Each error names a variable.
    fn check(_: &C) -> Vec<String> {
        Vec::new()
    }
}

/// All settings.
pub(crate) struct All;

impl<C> Selection<C> for All {
    fn includes(_: &str, _: &str) -> bool {
        true
    }
}

/// The settings that a command uses, each in its section of the help.
pub(super) fn arguments<C: SettingGroup, S: Selection<C>>() -> Vec<Arg> {
    let command = C::augment_args(Command::new("settings"));
    let mut section = "";
    let sections = command.get_arguments().map(|argument| {
        let mut starts = C::SECTIONS.iter();
        if let Some((_, heading)) = starts.find(|(first, _)| argument.get_id() == first) {
            section = heading;
        }
        (argument.clone(), section)
    });
    let used =
        sections.filter(|(argument, section)| S::includes(argument.get_id().as_str(), section));
    used.map(|(argument, section)| argument.help_heading(section))
        .collect()
}

/// An argument that accepts every text, and hides what the environment has.
pub(super) fn unchecked(argument: Arg) -> Arg {
    let texts = AnyText(argument.get_possible_values());
    argument
        .value_parser(texts)
        .required(false)
        .hide_env_values(true)
        .conflicts_with(Resettable::<Id>::Reset)
        .requires(Resettable::<Id>::Reset)
}

/// Accepts every text, and shows in the help which ones are possible.
#[derive(Clone)]
struct AnyText(Vec<PossibleValue>);

impl TypedValueParser for AnyText {
    type Value = OsString;

    fn parse_ref(
        &self,
        _: &Command,
        _: Option<&Arg>,
        value: &OsStr,
    ) -> clap::error::Result<OsString> {
        Ok(value.to_owned())
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        match self.0.is_empty() {
            true => None,
            false => Some(Box::new(self.0.iter().cloned())),
        }
    }
}

/// The command, whose settings come from its arguments only.
pub(super) fn without_environment(command: Command) -> Command {
    command
        .no_binary_name(true)
        .mut_args(|argument| argument.env(Resettable::<clap::builder::OsStr>::Reset))
}
