use std::os::unix::fs::PermissionsExt as _;

use super::*;

struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Fixture {
        Fixture { dir: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn helper(&self, name: &str, script: &str) {
        let path =
            self.file(&format!("docker-credential-{name}"), &format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn sources(&self, text: &str) -> CredentialSources {
        CredentialSources {
            files: vec![self.dir.path().join("absent.json"), self.file("config.json", text)],
            helper_path: Some(self.dir.path().into()),
            ..CredentialSources::default()
        }
    }
}

fn basic(user: &str, password: &str) -> Credentials {
    Credentials::Basic { user: user.into(), password: password.into() }
}

#[test]
fn finds_the_closest_key() {
    // "dTpw" = u:p, "aHViOnNlY3JldA==" = hub:secret, "bnM6eA==" = ns:x
    let sources = Fixture::new();
    let sources = sources.sources(
        r#"{"auths":{
            "https://index.docker.io/v1/":{"auth":"aHViOnNlY3JldA=="},
            "http://localhost:5000":{"auth":"dTpw"},
            "quay.io":{"auth":"dTpw"}, "quay.io/team":{"auth":"bnM6eA=="},
            "token.example":{"auth":"dTpw","identitytoken":"refresh"},
            "bearer.example":{"registrytoken":"abc"},
            "empty.example":{}}}"#,
    );
    let cases = [
        ("docker.io", "library/debian", basic("hub", "secret")),
        ("localhost:5000", "x", basic("u", "p")),
        ("localhost:5001", "x", Credentials::Anonymous),
        ("quay.io", "other/x", basic("u", "p")),
        ("quay.io", "team/x", basic("ns", "x")),
        ("quay.io", "teamwork/x", basic("u", "p")),
        ("token.example", "x", Credentials::Identity("refresh".into())),
        ("bearer.example", "x", Credentials::Bearer("abc".into())),
        ("empty.example", "x", Credentials::Anonymous),
        ("elsewhere.example", "x", Credentials::Anonymous),
    ];
    for (registry, repository, expected) in cases {
        assert_eq!(
            sources.lookup(registry, repository).unwrap(),
            expected,
            "{registry}/{repository}"
        );
    }
}

#[test]
fn first_file_with_an_entry_decides() {
    let f = Fixture::new();
    let mut sources =
        f.sources(r#"{"auths":{"a.example":{"auth":"dTpw"},"b.example":{"auth":"dTpw"}}}"#);
    sources.required = Some(f.file("first.json", r#"{"auths":{"a.example":{"auth":"bnM6eA=="}}}"#));
    assert_eq!(sources.lookup("a.example", "x").unwrap(), basic("ns", "x"));
    assert_eq!(sources.lookup("b.example", "x").unwrap(), basic("u", "p"));
    sources.explicit = Some(basic("flag", "1"));
    assert_eq!(sources.lookup("a.example", "x").unwrap(), basic("flag", "1"));
}

#[test]
fn a_required_file_must_be_there_and_well_formed() {
    let f = Fixture::new();
    let mut sources = f.sources("{}");
    sources.required = Some(f.dir.path().join("nowhere.json"));
    assert!(sources.lookup("a.example", "x").unwrap_err().to_string().contains("nowhere.json"));
    for text in [
        "",
        "[]",
        r#"{"auths":{"a.example":{"auth":"%%"}}}"#,
        r#"{"auths":{"a.example":{"auth":"dQ=="}}}"#,
    ] {
        let error = f.sources(text).lookup("a.example", "x").unwrap_err();
        assert!(matches!(error, Error::Credentials { .. }), "{text}");
    }
}

#[test]
fn asks_helpers() {
    let f = Fixture::new();
    f.helper(
        "echo",
        r#"read -r s; printf '{"ServerURL":"%s","Username":"from %s","Secret":"pw"}' "$s" "$s""#,
    );
    f.helper("token", r#"cat >/dev/null; echo '{"Username":"<token>","Secret":"refresh"}'"#);
    f.helper("none", r#"cat >/dev/null; echo 'credentials not found in native keychain'; exit 1"#);
    f.helper("broken", r#"cat >/dev/null; echo 'boom'; exit 1"#);
    f.helper("garbage", r#"cat >/dev/null; echo 'hunter2'"#);
    let sources = f.sources(
        r#"{"credsStore":"echo","credHelpers":{"t.example":"token","n.example":"none","b.example":"broken",
            "g.example":"garbage","missing.example":"missing","path.example":"../x"},
            "auths":{"n.example":{"auth":"dTpw"}}}"#,
    );
    assert_eq!(sources.lookup("a.example", "x").unwrap(), basic("from a.example", "pw"));
    assert_eq!(sources.lookup("docker.io", "x").unwrap(), basic(&format!("from {HUB_KEY}"), "pw"));
    assert_eq!(sources.lookup("t.example", "x").unwrap(), Credentials::Identity("refresh".into()));
    assert_eq!(sources.lookup("n.example", "x").unwrap(), basic("u", "p"));
    for (registry, cause) in [
        ("b.example", "boom"),
        ("g.example", "malformed answer"),
        ("missing.example", "cannot be run"),
        ("path.example", "not a helper's name"),
    ] {
        let text = sources.lookup(registry, "x").unwrap_err().to_string();
        assert!(text.contains(cause), "{registry}: {text}");
        assert!(!text.contains("hunter2"), "a secret must not be shown: {text}");
    }
}

#[test]
fn secrets_are_not_shown_by_debug() {
    let text = format!("{:?} {:?}", basic("u", "hunter2"), Credentials::Bearer("hunter2".into()));
    assert!(!text.contains("hunter2"));
}

#[test]
fn logins_are_kept_beside_what_the_file_has() {
    let f = Fixture::new();
    let sources = f.sources(
        r#"{"psFormat":"x","auths":{"https://index.docker.io/v1/":{"auth":"dTpw"},"index.docker.io":{"auth":"dTpw"},"b.example":{"auth":"dTpw"}}}"#,
    );
    let path = f.dir.path().join("config.json");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let file = sources.login_file().unwrap();
    assert_eq!(file.keep("docker.io", "ann", "pw:with colon").unwrap(), Kept::File(path.clone()));
    file.keep("localhost:5000", "joe", "").unwrap();
    assert_eq!(sources.lookup("docker.io", "x").unwrap(), basic("ann", "pw:with colon"));
    assert_eq!(sources.lookup("localhost:5000", "x").unwrap(), basic("joe", ""));
    assert_eq!(sources.lookup("b.example", "x").unwrap(), basic("u", "p"));
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("psFormat") && !text.contains("\"index.docker.io\""), "{text}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(file.forget("docker.io").unwrap());
    assert!(!file.forget("docker.io").unwrap());
    assert_eq!(sources.lookup("docker.io", "x").unwrap(), Credentials::Anonymous);
    assert_eq!(sources.lookup("b.example", "x").unwrap(), basic("u", "p"));
}

#[test]
fn new_files_are_for_their_owner_and_malformed_ones_stay() {
    let f = Fixture::new();
    let path = f.dir.path().join("new/folder/config.json");
    let sources = CredentialSources { files: vec![path.clone()], ..CredentialSources::default() };
    sources.login_file().unwrap().keep("a.example", "u", "p").unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(CredentialSources::default().login_file().is_none());
    for text in ["", "[]", r#"{"auths":[]}"#] {
        let sources = f.sources(text);
        let error = sources.login_file().unwrap().keep("a.example", "u", "p").unwrap_err();
        assert!(matches!(error, Error::Credentials { .. }), "{text}");
        assert_eq!(fs::read_to_string(f.dir.path().join("config.json")).unwrap(), text);
    }
}

#[test]
fn helpers_keep_and_forget() {
    let f = Fixture::new();
    let place = f.dir.path().join("kept");
    let place = place.display();
    f.helper(
        "keep",
        &format!(
            r#"case $1 in store) cat > {place};; erase) rm {place};; get) cat >/dev/null; [ -f {place} ] || {{ echo 'credentials not found in native keychain'; exit 1; }}; cat {place};; esac"#
        ),
    );
    let sources = f.sources(r#"{"credHelpers":{"a.example":"keep"},"credsStore":"missing"}"#);
    let file = sources.login_file().unwrap();
    assert_eq!(file.keep("a.example", "ann", "s3cret").unwrap(), Kept::Helper("keep".into()));
    assert_eq!(sources.lookup("a.example", "x").unwrap(), basic("ann", "s3cret"));
    let text = fs::read_to_string(f.dir.path().join("config.json")).unwrap();
    assert!(text.contains("a.example") && !text.contains("s3cret"), "{text}");
    assert!(file.forget("a.example").unwrap());
    assert_eq!(sources.lookup("a.example", "x").unwrap(), Credentials::Anonymous);
    let error = file.keep("other.example", "u", "p").unwrap_err().to_string();
    assert!(error.contains("docker-credential-missing"), "{error}");
}
