//! `keyhole completions`: what a shell needs to complete Keyhole's commands.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::Cli;
use super::error::{Result, written};

/// Print the completions for a shell
///
/// bash: keyhole completions bash > ~/.local/share/bash-completion/completions/keyhole
/// zsh:  keyhole completions zsh > "${fpath[1]}/_keyhole"
/// fish: keyhole completions fish > ~/.config/fish/completions/keyhole.fish
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    /// Prints them.
    pub fn run(self) -> Result {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "keyhole", &mut script);
        written(std::io::Write::write_all(&mut std::io::stdout().lock(), &script))
    }
}
