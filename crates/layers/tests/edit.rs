//! What the builder does to a tree.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use layers::{CopyOptions, Error, FileType, Metadata, NewNode, Selection, Spool, Tree};

fn meta(mode: u32) -> Metadata {
    Metadata { mode, mtime: 9, ..Metadata::default() }
}

fn link(target: &str) -> NewNode {
    NewNode::Symlink(target.as_bytes().into())
}

fn put(tree: &mut Tree, spool: &Spool, path: &str, content: &str) {
    tree.insert(path, meta(0o644), NewNode::File(spool.store(content.as_bytes()).unwrap()))
        .unwrap();
}

fn paths(tree: &Tree) -> Vec<String> {
    tree.walk(tree.root()).map(|(p, _)| String::from_utf8_lossy(&p).into_owned()).collect()
}

fn text(tree: &Tree, path: &str) -> String {
    String::from_utf8(tree.read(path, 1 << 20).unwrap()).unwrap()
}

#[test]
fn paths_are_walked_as_linux_does() {
    let spool = Spool::new().unwrap();
    let mut tree = Tree::new();
    tree.create_dir_all("/usr/lib/x", &meta(0o755)).unwrap();
    tree.insert("lib", meta(0), link("usr/lib")).unwrap();
    tree.insert("usr/up", meta(0), link("../../..//lib/./x")).unwrap();
    tree.insert("loop", meta(0), link("loop")).unwrap();
    tree.insert("dangling", meta(0), link("/not/there")).unwrap();
    put(&mut tree, &spool, "lib/f", "1");
    for path in
        ["usr/lib/f", "/lib/f", "//usr/./lib/f", "usr/up/../f", "../../lib/f", "lib/x/../../lib/f"]
    {
        assert_eq!(text(&tree, path), "1", "{path}");
    }
    assert_eq!(tree.lookup("").unwrap(), Some(tree.root()));
    assert_eq!(tree.lookup("/..").unwrap(), Some(tree.root()));
    assert_eq!(tree.lookup("dangling").unwrap(), None);
    assert_eq!(tree.lookup("lib/f/x").unwrap(), None);
    assert!(matches!(tree.lookup("loop/x"), Err(Error::SymlinkLoop(_))));
    let link_itself = tree.lookup_nofollow("lib").unwrap().unwrap();
    assert_eq!(tree.node(link_itself).kind(), FileType::Symlink);
    assert_eq!(tree.node(link_itself).meta.mode, 0o777);
    assert!(matches!(tree.read("usr", 9), Err(Error::IsDirectory(_))));
    assert!(matches!(tree.read("nothing", 9), Err(Error::NotFound(_))));
    assert!(matches!(tree.read("lib/f", 0), Err(Error::Limit { .. })));
    // Through a dangling link, directories are made where it points.
    tree.create_dir_all("dangling/deep", &meta(0o700)).unwrap();
    assert!(tree.lookup("not/there/deep").unwrap().is_some());
    assert!(matches!(tree.create_dir_all("lib/f/x", &meta(0)), Err(Error::NotDirectory(_))));
    assert!(matches!(tree.insert("no/parent", meta(0), NewNode::Dir), Err(Error::NotFound(_))));
    assert!(matches!(tree.insert("usr/lib/..", meta(0), NewNode::Dir), Err(Error::InvalidName(_))));
    assert!(matches!(tree.insert("/", meta(0), link("x")), Err(Error::RootNotDirectory)));
    assert!(matches!(tree.insert("n\0", meta(0), NewNode::Dir), Err(Error::InvalidName(_))));
}

#[test]
fn removing_and_replacing() {
    let spool = Spool::new().unwrap();
    let mut tree = Tree::new();
    tree.create_dir_all("a/b/c", &meta(0o755)).unwrap();
    put(&mut tree, &spool, "a/b/f", "1");
    let f = tree.lookup("a/b/f").unwrap().unwrap();
    tree.link("g", f).unwrap();
    assert_eq!(tree.node(f).links(), 2);
    assert!(tree.remove("a/b").unwrap());
    assert!(!tree.remove("a/b").unwrap());
    assert_eq!((paths(&tree), tree.node(f).links()), (vec!["a".into(), "g".into()], 1));
    tree.insert("a", meta(0o700), NewNode::Dir).unwrap();
    put(&mut tree, &spool, "a", "file now");
    assert_eq!(text(&tree, "a"), "file now");
    let a = tree.lookup("a").unwrap().unwrap();
    tree.link("a", a).unwrap();
    assert_eq!((text(&tree, "a"), tree.node(a).links()), ("file now".into(), 1));
    assert!(tree.remove("/").unwrap());
    assert!(paths(&tree).is_empty());
}

#[test]
fn copying_between_trees() {
    let spool = Spool::new().unwrap();
    let mut from = Tree::new();
    from.create_dir_all("app/sub", &meta(0o750)).unwrap();
    put(&mut from, &spool, "app/a", "A");
    put(&mut from, &spool, "app/sub/b", "B");
    let a = from.lookup("app/a").unwrap().unwrap();
    from.link("app/sub/a2", a).unwrap();
    from.insert("app/link", meta(0), link("/app/a")).unwrap();
    let mut to = Tree::new();
    to.create_dir_all("srv/sub", &meta(0o700)).unwrap();
    put(&mut to, &spool, "srv/sub/kept", "K");
    to.insert("srv/a", meta(0), link("elsewhere")).unwrap();
    to.insert("alias", meta(0), link("srv")).unwrap();
    let app = from.lookup("app").unwrap().unwrap();
    let mode = |mode: u32, dir: bool| if dir { mode } else { 0o600 };
    let options = CopyOptions {
        owner: Some((7, 8)),
        mode: Some(&mode),
        clamp_mtime: Some(5),
        ..Default::default()
    };
    to.copy_from("alias/", &from, app, &options).unwrap();
    assert_eq!(
        paths(&to),
        ["alias", "srv", "srv/a", "srv/link", "srv/sub", "srv/sub/a2", "srv/sub/b", "srv/sub/kept"]
    );
    let node = to.node(to.lookup("srv/a").unwrap().unwrap());
    assert_eq!((node.meta.mode, node.meta.uid, node.meta.gid, node.meta.mtime), (0o600, 7, 8, 5));
    assert_eq!((to.lookup("srv/a").unwrap(), node.links()), (to.lookup("srv/sub/a2").unwrap(), 2));
    assert_eq!(to.node(to.lookup("srv/sub").unwrap().unwrap()).meta.mode, 0o750);
    // A file to a new name, onto a file, and the exchanges that are refused.
    to.copy_from("srv/new", &from, a, &CopyOptions::default()).unwrap();
    assert_eq!(text(&to, "srv/new"), "A");
    assert!(matches!(
        to.copy_from("srv/sub", &from, a, &CopyOptions::default()),
        Err(Error::IsDirectory(_))
    ));
    assert!(matches!(
        to.copy_from("srv/new", &from, app, &CopyOptions::default()),
        Err(Error::NotDirectory(_))
    ));
    to.copy_from("made/here", &from, app, &CopyOptions::default()).unwrap();
    assert_eq!(text(&to, "made/here/sub/b"), "B");
    // A tree into itself.
    let copy = to.clone();
    to.copy_from("srv/again", &copy, copy.lookup("srv").unwrap().unwrap(), &CopyOptions::default())
        .unwrap();
    assert_eq!(text(&to, "srv/again/sub/kept"), "K");
}

#[test]
fn copying_from_the_host() {
    let spool = Spool::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    fs::create_dir_all(path.join("node_modules/keep")).unwrap();
    fs::create_dir_all(path.join("secret")).unwrap();
    fs::write(path.join("main"), "main").unwrap();
    fs::write(path.join("node_modules/keep/this"), "this").unwrap();
    fs::write(path.join("node_modules/drop"), "drop").unwrap();
    fs::write(path.join("secret/key"), "key").unwrap();
    fs::set_permissions(path.join("main"), fs::Permissions::from_mode(0o4711)).unwrap();
    fs::hard_link(path.join("main"), path.join("again")).unwrap();
    symlink("/etc/passwd", path.join("link")).unwrap();
    let select = |path: &[u8], _dir: bool| match path {
        b"node_modules/keep" | b"node_modules/keep/this" => Selection::Take,
        b"secret/key" => panic!("what is left out is not looked at"),
        _ if path.starts_with(b"secret") => Selection::Leave,
        _ if path.starts_with(b"node_modules") => Selection::LookInside,
        _ => Selection::Take,
    };
    let options = CopyOptions { owner: Some((0, 0)), select: Some(&select), ..Default::default() };
    let mut tree = Tree::new();
    tree.copy_host("app", path, &spool, &options).unwrap();
    assert_eq!(
        paths(&tree),
        [
            "app",
            "app/again",
            "app/link",
            "app/main",
            "app/node_modules",
            "app/node_modules/keep",
            "app/node_modules/keep/this"
        ]
    );
    assert_eq!(tree.lookup("app/main").unwrap(), tree.lookup("app/again").unwrap());
    let link = tree.node(tree.lookup_nofollow("app/link").unwrap().unwrap());
    assert_eq!(link.target(), Some(&b"/etc/passwd"[..]));
    assert_eq!(tree.node(tree.lookup("app/main").unwrap().unwrap()).meta.mode, 0o4711);
    // What was copied stays what it was.
    fs::write(path.join("main"), "changed").unwrap();
    assert_eq!(text(&tree, "app/main"), "main");
    let missing = tree.copy_host("x", &path.join("missing"), &spool, &CopyOptions::default());
    assert!(matches!(missing, Err(Error::Host { .. })));
    tree.copy_host("one", &path.join("secret/key"), &spool, &CopyOptions::default()).unwrap();
    assert_eq!(text(&tree, "one"), "key");
}
