use clap::{Args, Command};
use sluice::config::{Config, EdgeConfig};

#[test]
fn env_example_lists_every_setting_with_its_default_and_no_other() {
    let example = include_str!("../../../.env.example");
    let mut named: Vec<_> = example
        .lines()
        .filter_map(|line| {
            line.strip_prefix('#')
                .filter(|rest| !rest.starts_with([' ', '#']))
        })
        .filter(|line| !line.is_empty())
        .collect();
    named.sort_unstable();

    let mut settings = settings_of(&Config::augment_args(Command::new("serve")));
    settings.extend(settings_of(&EdgeConfig::augment_args(Command::new("edge"))));
    settings.sort_unstable();
    // The two commands share some settings.
    settings.dedup();

    assert_eq!(named, settings);
}

fn settings_of(command: &Command) -> Vec<String> {
    let settings = command.get_arguments().filter_map(|argument| {
        let variable = argument.get_env()?.to_str().unwrap();
        let default = argument.get_default_values().first();
        let default = default.map_or("", |value| value.to_str().unwrap());
        Some(format!("{variable}={default}"))
    });
    settings.collect()
}
