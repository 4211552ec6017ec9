//! Pattern files and banners.

use super::Author;

const BANNERS: &str = "/tmp/lwc/banners";
const FILES: usize = 4;

const MISSING: &[&str] = &[
    "/tmp/lwc/none",
    "/nonexistent/file",
    "/tmp/lwc/p1/below",
    "/tmp/lwc",
    "/tmp/lwc/",
    "/tmp/lwc//p1",
    "/tmp/lwc/./p1",
    "/TMP/LWC/p0",
    "/tmp/lwc/p*",
    "/",
];

impl Author<'_> {
    /// The path of a pattern file, most often of one that is there.
    pub(super) fn file(&mut self) -> String {
        match self.random.below(10) {
            0 => (*self.random.pick(MISSING)).into(),
            _ if self.world.pattern_files.is_empty() => {
                self.pattern_files();
                self.random.pick(&self.world.pattern_files).clone()
            }
            _ => self.random.pick(&self.world.pattern_files).clone(),
        }
    }

    /// Writes the scene's pattern files, from the last on: each names later ones only, for
    /// libwrap does not survive a file that includes itself.
    fn pattern_files(&mut self) {
        let mut written: Vec<String> = Vec::new();
        for number in (0..FILES).rev() {
            let mut text = String::new();
            for _ in 0..self.random.weighted(&[(5, 0), (20, 1), (40, 3), (20, 6), (3, 40)]) {
                // A file asked for while they are written is a later one.
                self.world.pattern_files.clone_from(&written);
                let token = match self.random.below(20) {
                    0 => self
                        .random
                        .pick(&["# comment", "EXCEPT", "a,b", "ALL,", "\\\n", "\0", "\r\n", "#"])
                        .to_string(),
                    1 => format!("root@{}", self.host_but_file()),
                    2 => {
                        let address = self.world.v6(self.random);
                        let text = self.v6_text(address);
                        self.world.addresses.push(text.clone());
                        text
                    }
                    // libwrap has room for 8191 bytes, and does not survive more.
                    4 if self.random.chance(10) => "x".repeat(self.random.between(8180, 8190)),
                    3 if !written.is_empty() => self.random.pick(&written).clone(),
                    _ if written.is_empty() => self.host_but_file(),
                    _ => self.host(),
                };
                text += &token;
                text += self.random.weighted(&[
                    (60, "\n"),
                    (20, " "),
                    (5, "\t"),
                    (5, "\r\n"),
                    (5, "\n\n"),
                    (2, ", "),
                    (2, "\u{b}"),
                ]);
            }
            let path = format!("/tmp/lwc/p{number}");
            // The path that stands in MISSING would be an earlier file's.
            let text =
                text.replace("/tmp/lwc//p1", "/tmp/lwc/none").replace("/tmp/lwc/./p1", "/tmp/lwc/none");
            self.world.files.insert(path.clone(), text.replace("/tmp/lwc/p0", "/tmp/lwc/none"));
            written.push(path);
        }
        self.world.pattern_files = written;
    }

    /// Puts banners there for some daemons.
    pub(super) fn banners(&mut self) {
        if self.random.chance(15) {
            return;
        }
        for daemon in self.world.daemons.clone() {
            if self.random.chance(80) {
                self.banner(&daemon.replace(['/', '\0'], "_"));
            }
        }
    }

    fn banner(&mut self, daemon: &str) {
        let text = match self.random.below(5) {
            0 => "\n".into(),
            1 => "no newline %a".into(),
            2 => format!("{}\nline two %% %x\n", self.template()),
            _ => format!("{}\n", self.template()),
        };
        self.world.files.insert(format!("{BANNERS}/{daemon}"), text);
    }
}
