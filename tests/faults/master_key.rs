//! The master key: wrong, gone, open to others, or no key at all.

use std::os::unix::fs::PermissionsExt as _;

use crate::rig::*;

/// Another key, well formed.
const OTHER: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

#[test]
fn a_wrong_master_key_is_one_clear_error_and_the_right_one_opens_everything() {
    let workspace = Workspace::new();
    workspace.all_fail(
        |command| {
            command.env("KEYHOLE_MASTER_KEY", OTHER);
        },
        &["wrong master key", "configure the key that was used before"],
    );
    workspace.all_fail(
        |command| {
            command.env("KEYHOLE_MASTER_KEY_COMMAND", format!("printf %s {OTHER}"));
        },
        &["wrong master key"],
    );
    workspace.is_whole();
}

#[test]
fn a_master_key_that_is_none_is_one_clear_error() {
    let workspace = Workspace::new();
    for none in ["", "abc", "not base64 at all!"] {
        workspace.all_fail(
            |command| {
                command.env("KEYHOLE_MASTER_KEY", none);
            },
            &["gives no master key: it must be 32 bytes, in base64 or hex", "openssl rand -base64 32"],
        );
    }
    workspace.all_fail(
        |command| {
            command.env("KEYHOLE_MASTER_KEY_COMMAND", "echo the KMS is away >&2; exit 7");
        },
        &["the master key command failed", "the KMS is away"],
    );
    workspace.is_whole();
}

#[test]
fn a_lost_master_key_is_one_clear_error_and_no_new_one_is_made_over_it() {
    let workspace = Workspace::new();
    let (key, away) = (workspace.data().join("master.key"), workspace.data().join("away"));
    std::fs::rename(&key, &away).unwrap();
    workspace.all_fail(|_| {}, &["the master key", "is missing: it should be in", "put it back there from your copy"]);
    assert!(!key.exists());
    std::fs::rename(&away, &key).unwrap();
    workspace.is_whole();
}

#[test]
fn a_master_key_open_to_others_is_one_clear_error_with_the_command_that_mends_it() {
    let workspace = Workspace::new();
    let key = workspace.data().join("master.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let mends = format!("chmod 600 {}", key.display());
    workspace.all_fail(|_| {}, &["others can read the master key", &mends]);
    let status = std::process::Command::new("sh").args(["-c", &mends]).status().unwrap();
    assert!(status.success());
    workspace.is_whole();
}
