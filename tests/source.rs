//! Reading and watching the tables: every way to edit a file, and no half of one.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use tcpw_userspace::{
    parse::text::{FileText, Texts},
    source::{Source, Watch, follow, paths},
};

/// The time in which an edit must be seen. The poll (2 s) is too late.
const SEEN_WITHIN: Duration = Duration::from_secs(1);

/// A directory of its own, removed at the end.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tcpw-source-{number}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        fs::write(path.join("hosts.allow"), "sshd: 1.2.3.4\n").unwrap();
        fs::write(path.join("hosts.deny"), "ALL: ALL\n").unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn source(&self) -> Source {
        Source::new(self.path("hosts.allow"), self.path("hosts.deny"))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn none(_: &Texts) -> BTreeSet<PathBuf> {
    BTreeSet::new()
}

/// Every token that begins with `/` in any text.
fn slashes(texts: &Texts) -> BTreeSet<PathBuf> {
    let all = [&texts.allow.1, &texts.deny.1].into_iter().chain(texts.files.values());
    all.filter_map(|text| match text {
        FileText::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        FileText::Missing | FileText::Unreadable(_) => None,
    })
    .flat_map(|text| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    .filter(|token| token.starts_with('/'))
    .map(PathBuf::from)
    .collect()
}

fn bytes(text: &str) -> FileText {
    FileText::Bytes(text.as_bytes().into())
}

fn append(path: &Path, text: &str) {
    fs::OpenOptions::new().append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

fn run(command: &str, arguments: &[&Path]) {
    assert!(Command::new("sh").args(["-c", command, "sh"]).args(arguments).status().unwrap().success());
}

/// Makes `edit` after the watch is set; what is read when it reports must be `expected`.
async fn sees(dir: &Dir, what: &str, edit: impl FnOnce(), expected: impl Fn(&Texts) -> bool) {
    let source = dir.source();
    let mut watch = Watch::new();
    follow(&source, &mut watch, slashes);
    // Nothing has changed: nothing is reported, the poll's first tick included.
    assert!(
        tokio::time::timeout(Duration::from_millis(50), watch.changed()).await.is_err(),
        "{what}: false alarm"
    );
    let begin = Instant::now();
    edit();
    loop {
        let left = SEEN_WITHIN.saturating_sub(begin.elapsed());
        tokio::time::timeout(left, watch.changed()).await.unwrap_or_else(|_| panic!("{what}: not seen"));
        if expected(&follow(&source, &mut watch, slashes)) {
            break;
        }
    }
}

#[tokio::test]
async fn every_style_of_edit_is_seen() {
    let dir = Dir::new();
    let deny = dir.path("hosts.deny");
    let is = |expected: &'static str| move |texts: &Texts| texts.deny.1 == bytes(expected);

    sees(&dir, "append", || append(&deny, "a: b\n"), is("ALL: ALL\na: b\n")).await;
    sees(&dir, "sed -i", || run("sed -i s/a:/c:/ \"$1\"", &[&deny]), is("ALL: ALL\nc: b\n")).await;
    sees(&dir, "shell >", || run("echo x: y > \"$1\"", &[&deny]), is("x: y\n")).await;
    let in_place = || {
        let mut file = fs::OpenOptions::new().write(true).open(&deny).unwrap();
        file.write_all(b"X: Y\n").unwrap();
    };
    sees(&dir, "same size in place", in_place, is("X: Y\n")).await;
    let rename_over = || {
        fs::write(dir.path(".new"), "r: r\n").unwrap();
        fs::rename(dir.path(".new"), &deny).unwrap();
    };
    sees(&dir, "rename over", rename_over, is("r: r\n")).await;
    sees(&dir, "append after rename", || append(&deny, "s: s\n"), is("r: r\ns: s\n")).await;
    let gone = |texts: &Texts| texts.deny.1 == FileText::Missing;
    sees(&dir, "delete", || fs::remove_file(&deny).unwrap(), gone).await;
    sees(&dir, "create", || fs::write(&deny, "n: n\n").unwrap(), is("n: n\n")).await;
    let delete_create = || {
        fs::remove_file(&deny).unwrap();
        fs::write(&deny, "d: c\n").unwrap();
    };
    sees(&dir, "delete and create", delete_create, is("d: c\n")).await;
    let other_name = || {
        fs::hard_link(&deny, dir.path("other-name")).unwrap();
        append(&dir.path("other-name"), "h: l\n");
    };
    sees(&dir, "through a hard link", other_name, is("d: c\nh: l\n")).await;
}

#[tokio::test]
async fn a_pattern_file_is_watched_as_the_tables_are() {
    let dir = Dir::new();
    let list = dir.path("list");
    append(&dir.path("hosts.allow"), &format!("sshd: {}\n", list.display()));
    let is = |expected: FileText| {
        let list = list.clone();
        move |texts: &Texts| texts.files.get(&list) == Some(&expected)
    };
    let nested = dir.path("nested");
    sees(&dir, "create", || fs::write(&list, "1.2.3.4\n").unwrap(), is(bytes("1.2.3.4\n"))).await;
    let name_another = format!("{}\n", nested.display());
    let refer = || fs::write(&list, &name_another).unwrap();
    sees(&dir, "names another", refer, |texts| texts.files.get(&nested) == Some(&FileText::Missing)).await;
    sees(
        &dir,
        "that one appears",
        || fs::write(&nested, "::1\n").unwrap(),
        |texts| texts.files.get(&nested) == Some(&bytes("::1\n")),
    )
    .await;
    sees(&dir, "delete", || fs::remove_file(&list).unwrap(), is(FileText::Missing)).await;
}

#[tokio::test]
async fn symlink_swaps_and_replaced_directories_are_seen() {
    let dir = Dir::new();
    for (name, text) in [("v1", "one: ALL\n"), ("v2", "two: ALL\n")] {
        fs::create_dir(dir.path(name)).unwrap();
        fs::write(dir.path(name).join("hosts.deny"), text).unwrap();
    }
    // As kubernetes mounts a config map: hosts.deny -> ..data/hosts.deny, ..data -> v1.
    let deny = dir.path("hosts.deny");
    fs::remove_file(&deny).unwrap();
    symlink("..data/hosts.deny", &deny).unwrap();
    symlink("v1", dir.path("..data")).unwrap();
    let is = |expected: &'static str| move |texts: &Texts| texts.deny.1 == bytes(expected);
    let swap = |to: &str| {
        symlink(to, dir.path("..tmp")).unwrap();
        fs::rename(dir.path("..tmp"), dir.path("..data")).unwrap();
    };
    sees(&dir, "swap of a link in the middle", || swap("v2"), is("two: ALL\n")).await;
    let behind = || append(&dir.path("v2/hosts.deny"), "x: x\n");
    sees(&dir, "append behind the links", behind, is("two: ALL\nx: x\n")).await;
    let replace = || {
        fs::rename(dir.path("v2"), dir.path("old")).unwrap();
        fs::rename(dir.path("v1"), dir.path("v2")).unwrap();
    };
    sees(&dir, "directory replaced", replace, is("one: ALL\n")).await;
    let whole = || {
        fs::remove_dir_all(dir.path("v2")).unwrap();
        fs::create_dir(dir.path("v2")).unwrap();
        fs::write(dir.path("v2/hosts.deny"), "new: ALL\n").unwrap();
    };
    sees(&dir, "directory deleted and made anew", whole, is("new: ALL\n")).await;
    sees(&dir, "dangling link", || swap("nowhere/yet"), |texts| texts.deny.1 == FileText::Missing).await;
    let appear = || {
        fs::create_dir_all(dir.path("nowhere/yet")).unwrap();
        fs::write(dir.path("nowhere/yet/hosts.deny"), "late: ALL\n").unwrap();
    };
    sees(&dir, "directories that did not exist", appear, is("late: ALL\n")).await;
    sees(&dir, "absolute link", || swap(dir.path("old").to_str().unwrap()), is("two: ALL\nx: x\n")).await;
}

#[tokio::test]
async fn neighbours_and_own_reads_are_no_change() {
    let dir = Dir::new();
    let source = dir.source();
    let mut watch = Watch::new();
    follow(&source, &mut watch, none);
    fs::write(dir.path("neighbour"), "x").unwrap();
    fs::remove_file(dir.path("neighbour")).unwrap();
    source.read(none);
    // Longer than one poll.
    assert!(tokio::time::timeout(Duration::from_millis(2300), watch.changed()).await.is_err());
}

#[tokio::test]
async fn a_burst_is_one_change_and_cancelling_loses_none() {
    let dir = Dir::new();
    let source = dir.source();
    let mut watch = Watch::new();
    follow(&source, &mut watch, none);
    for _ in 0..200 {
        append(&dir.path("hosts.deny"), "a: b\n");
    }
    // Given up in the middle: the change is still there for the next call.
    let given_up = tokio::time::timeout(Duration::from_micros(200), watch.changed()).await.is_err();
    // A busy machine may come to it only when all is over.
    if given_up {
        tokio::time::timeout(SEEN_WITHIN, watch.changed()).await.unwrap();
    }
    assert!(tokio::time::timeout(Duration::from_millis(100), watch.changed()).await.is_err());
}

#[tokio::test]
async fn an_overflowing_queue_is_a_change() {
    let dir = Dir::new();
    let source = dir.source();
    let mut watch = Watch::new();
    follow(&source, &mut watch, none);
    let limit: u32 =
        fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
    // Neighbours fill the queue; the edit itself no longer fits.
    for number in 0..limit / 2 + 1 {
        let path = dir.path(if number % 2 == 0 { "even" } else { "odd" });
        fs::write(&path, "").unwrap();
        fs::remove_file(&path).unwrap();
    }
    append(&dir.path("hosts.deny"), "a: b\n");
    tokio::time::timeout(SEEN_WITHIN, watch.changed()).await.unwrap();
    assert_eq!(follow(&source, &mut watch, none).deny.1, bytes("ALL: ALL\na: b\n"));
    // And what comes after an overflow is seen again.
    append(&dir.path("hosts.deny"), "c: d\n");
    tokio::time::timeout(SEEN_WITHIN, watch.changed()).await.unwrap();
}

/// A table of `version`, in which every line says so.
fn table(version: u32) -> String {
    format!("v{version}: 10.0.0.0/255.0.0.0\n").repeat(20_000)
}

fn assert_whole(text: &FileText) -> u32 {
    let FileText::Bytes(bytes) = text else { panic!("not there: {text:?}") };
    let text = std::str::from_utf8(bytes).unwrap();
    let version: u32 = text.split(':').next().unwrap()[1..].parse().unwrap();
    assert!(text == table(version), "half of a table, {} bytes", text.len());
    version
}

#[test]
fn a_writer_in_two_pieces_is_never_read_in_between() {
    let dir = Dir::new();
    let deny = dir.path("hosts.deny");
    fs::write(&deny, table(0)).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for version in 1.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let whole = table(version);
                let (first, second) = whole.as_bytes().split_at(whole.len() / 2);
                // In place: truncated, half, whole; then at rest for a while.
                let mut file = fs::File::create(&deny).unwrap();
                std::thread::sleep(Duration::from_millis(10));
                file.write_all(first).unwrap();
                std::thread::sleep(Duration::from_millis(20));
                file.write_all(second).unwrap();
                drop(file);
                std::thread::sleep(Duration::from_millis(150));
            }
        });
        let source = dir.source();
        let versions: BTreeSet<u32> = (0..15).map(|_| assert_whole(&source.read(none).deny.1)).collect();
        stop.store(true, Ordering::Relaxed);
        assert!(versions.len() > 3, "only {versions:?}: the writer did not get a turn");
    });
}

/// On a busy machine an editor may rest between the moment when it empties a file and that when it writes it.
#[test]
fn an_edit_in_place_is_read_when_its_writer_is_done() {
    let dir = Dir::new();
    let deny = dir.path("hosts.deny");
    fs::write(&deny, table(0)).unwrap();
    let source = dir.source();
    let mut file = fs::File::create(&deny).unwrap();
    let parsed = Mutex::new(Vec::new());
    let parse = |texts: &Texts| {
        parsed.lock().unwrap().push(texts.deny.1.clone());
        BTreeSet::new()
    };
    std::thread::scope(|scope| {
        let read = scope.spawn(|| source.read(parse));
        std::thread::sleep(Duration::from_millis(400));
        assert!(!read.is_finished(), "it did not wait for the writer");
        file.write_all(table(1).as_bytes()).unwrap();
        drop(file);
        assert_eq!(assert_whole(&read.join().unwrap().deny.1), 1);
    });
    assert_eq!(parsed.into_inner().unwrap(), [bytes(&table(1))], "half a text was parsed");
    // One that stays open is not waited for without end.
    let _open = fs::File::options().append(true).open(&deny).unwrap();
    let begin = Instant::now();
    assert_eq!(assert_whole(&source.read(none).deny.1), 1);
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
}

#[test]
fn a_writer_that_never_rests_is_read_whole_and_in_time() {
    let dir = Dir::new();
    let (allow, deny) = (dir.path("hosts.allow"), dir.path("hosts.deny"));
    fs::write(&allow, table(0)).unwrap();
    fs::write(&deny, table(0)).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for version in 1.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                for path in [&allow, &deny] {
                    let new = path.with_extension("new");
                    fs::write(&new, table(version)).unwrap();
                    fs::rename(&new, path).unwrap();
                }
                std::thread::sleep(Duration::from_millis(30));
            }
        });
        for _ in 0..3 {
            let begin = Instant::now();
            let texts = dir.source().read(none);
            assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
            let (allow, deny) = (assert_whole(&texts.allow.1), assert_whole(&texts.deny.1));
            // hosts.deny follows hosts.allow: at one moment it is as new, or one behind.
            assert!(allow == deny || allow == deny + 1, "allow {allow}, deny {deny}: never together");
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn what_is_no_plain_file_is_answered_as_libwrap_would_and_never_hangs() {
    let dir = Dir::new();
    let deny = dir.path("hosts.deny");
    let read = || dir.source().read(none).deny.1;
    let begin = Instant::now();

    fs::remove_file(&deny).unwrap();
    assert_eq!(read(), FileText::Missing);
    fs::create_dir(&deny).unwrap();
    assert_eq!(read(), bytes(""));
    fs::remove_dir(&deny).unwrap();
    symlink("hosts.deny", &deny).unwrap();
    assert_eq!(read(), FileText::Unreadable("Too many levels of symbolic links".into()));
    fs::remove_file(&deny).unwrap();
    symlink("/dev/null", &deny).unwrap();
    assert_eq!(read(), bytes(""));
    fs::remove_file(&deny).unwrap();
    symlink("hosts.allow/x", &deny).unwrap();
    assert_eq!(read(), FileText::Unreadable("Not a directory".into()));
    fs::remove_file(&deny).unwrap();

    run("mkfifo \"$1\"", &[&deny]);
    let FileText::Unreadable(why) = read() else { panic!("a FIFO nobody writes to is no empty table") };
    assert!(why.contains("Not a regular file"), "{why}");
    std::thread::scope(|scope| {
        scope.spawn(|| fs::write(&deny, "fifo: ALL\n").unwrap());
        assert_eq!(read(), bytes("fifo: ALL\n"));
    });
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[test]
fn an_unreadable_file_gives_its_reason() {
    let dir = Dir::new();
    fs::set_permissions(dir.path("hosts.deny"), fs::Permissions::from_mode(0o000)).unwrap();
    let texts = dir.source().read(none);
    // root reads it all the same.
    let expected = if nix::unistd::geteuid().is_root() {
        bytes("ALL: ALL\n")
    } else {
        FileText::Unreadable("Permission denied".into())
    };
    assert_eq!(texts.deny.1, expected);
}

#[test]
fn pattern_files_are_found_until_nothing_new_is_named() {
    let dir = Dir::new();
    let (a, b, c) = (dir.path("a"), dir.path("b"), dir.path("c"));
    fs::write(dir.path("hosts.allow"), format!("sshd: {} {}\n", a.display(), c.display())).unwrap();
    fs::write(&a, format!("{} \n", b.display())).unwrap();
    fs::write(&b, format!("{} \n", a.display())).unwrap();
    let texts = dir.source().read(slashes);
    assert_eq!(texts.files.keys().cloned().collect::<Vec<_>>(), [a, b, c.clone()]);
    assert_eq!(texts.files[&c], FileText::Missing);
    assert_eq!(paths(&texts).len(), 5);
}
