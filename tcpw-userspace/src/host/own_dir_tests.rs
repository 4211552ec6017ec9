use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, chown, symlink},
};

use super::*;

/// A user without rights.
const OTHER: u32 = 65_534;

/// A directory that goes away with the test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tcpw-own-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }

    fn dir(&self, name: &str, mode: u32) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn missing_directories_are_made_for_the_process_alone() {
    let place = Place::new("made");
    let path = place.0.join("on/the/way");
    assert!(open_own_dir(&path).unwrap_err().is_missing());
    make_own_dir(&path).unwrap();
    assert_eq!(mode(&path), 0o700);
    open_own_dir(&path).unwrap();
}

#[test]
fn directory_that_others_can_write_is_refused_even_if_sticky() {
    let place = Place::new("writable");
    for bits in [0o777, 0o1777, 0o775, 0o757] {
        let path = place.dir("dir", bits);
        let refused = make_own_dir(&path).unwrap_err();
        assert!(matches!(&refused, NotOwn::Writable { path: at, mode, .. } if *at == path && *mode == bits));
        let text = refused.to_string();
        assert!(text.contains(&format!("mode {bits:04o}")) && text.contains("chmod go-w"), "{text}");
    }
}

#[test]
fn component_above_that_others_can_write_is_refused_unless_sticky() {
    let place = Place::new("above");
    let open = place.dir("open", 0o777);
    assert!(matches!(make_own_dir(&open.join("a")), Err(NotOwn::Writable { path, .. }) if path == open));
    let sticky = place.dir("sticky", 0o1777);
    make_own_dir(&sticky.join("a/b")).unwrap();
}

#[test]
fn directory_that_another_user_made_first_is_refused() {
    if !geteuid().is_root() {
        return;
    }
    let place = Place::new("first");
    place.dir("sticky", 0o1777);
    let taken = place.dir("sticky/tcpw", 0o700);
    chown(&taken, Some(OTHER), Some(OTHER)).unwrap();
    let refused = make_own_dir(&taken.join("v10")).unwrap_err();
    assert_eq!(refused, NotOwn::Owner { path: taken.clone(), uid: OTHER, mode: 0o700 });
    assert!(refused.to_string().contains("belongs to uid 65534"), "{refused}");
    assert!(!taken.join("v10").exists());
}

#[test]
fn links_are_followed_only_where_root_alone_can_make_them() {
    let place = Place::new("links");
    let real = place.dir("real", 0o755);
    symlink(&real, place.0.join("link")).unwrap();
    make_own_dir(&place.0.join("link/a")).unwrap();
    assert!(real.join("a").is_dir());
    symlink("real/../real", place.0.join("relative")).unwrap();
    open_own_dir(&place.0.join("relative/a")).unwrap();
    symlink("loop", place.0.join("loop")).unwrap();
    assert!(matches!(open_own_dir(&place.0.join("loop")), Err(NotOwn::Failed { errno: Errno::ELOOP, .. })));
    let sticky = place.dir("sticky", 0o1777);
    symlink(&real, sticky.join("link")).unwrap();
    assert!(matches!(open_own_dir(&sticky.join("link/a")), Err(NotOwn::Link { .. })));
}

#[test]
fn file_is_appended_to_only_if_it_is_no_link_and_root_s() {
    let place = Place::new("file");
    let append = |path: &Path| append_to_own_file(path, OFlag::empty()).map(drop);
    append(&place.0.join("log")).unwrap();
    assert_eq!(mode(&place.0.join("log")), 0o600);
    let victim = place.0.join("victim");
    fs::write(&victim, "").unwrap();
    let link = place.0.join("link");
    symlink(&victim, &link).unwrap();
    assert_eq!(append(&link), Err(NotOwn::Link { path: link.clone() }));
    let name = place.0.join("name");
    fs::hard_link(&victim, &name).unwrap();
    assert_eq!(append(&name), Err(NotOwn::Names { path: name.clone() }));
    let open = place.dir("open", 0o777);
    assert!(matches!(append(&open.join("log")), Err(NotOwn::Writable { .. })));
    append(&place.dir("group", 0o775).join("log")).unwrap();
    let sticky = place.dir("sticky", 0o1777).join("log");
    append(&sticky).unwrap();
    append(&sticky).unwrap();
    if geteuid().is_root() {
        chown(&sticky, Some(OTHER), None).unwrap();
        assert!(matches!(append(&sticky), Err(NotOwn::Owner { uid: OTHER, .. })));
        // As a syslog daemon's own, and a directory in /var/log on Ubuntu.
        chown(place.0.join("group/log"), Some(OTHER), None).unwrap();
        append(&place.0.join("group/log")).unwrap();
        append(&place.dir("group/below", 0o755).join("log")).unwrap();
        assert!(matches!(make_own_dir(&place.0.join("group/below/run")), Err(NotOwn::Writable { .. })));
    }
}
