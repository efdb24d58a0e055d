//! The causes, the most specific first.

use super::past::Past;

/// One cause: what to look for and what to say.
pub struct Rule {
    /// Its name in results.
    pub name: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// Folders, as `/var/cache/apt` from the root or `.cache/pip` anywhere, with all below them.
    pub folders: &'static [&'static str],
    /// Base names, as `nohup.out`, `*.bak`, `core.*`, or `/etc/passwd-` from the root. Without folders and
    /// files a rule is about every path.
    pub files: &'static [&'static str],
    /// Why that wastes bytes.
    pub why: &'static str,
    /// What to do about it.
    pub advice: &'static str,
    /// Where that is written down.
    pub source: &'static str,
    /// Option of `unbloat squash` that mends one path.
    pub(crate) option: Option<&'static str>,
    /// Which bytes of a path count.
    pub(crate) scope: Scope,
    /// What must have happened to the path.
    pub(crate) when: fn(&Past) -> bool,
    /// What was seen of it.
    pub(crate) seen: fn(&Past) -> String,
}

/// Which bytes of a path a cause counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Those that no squash keeps.
    Hidden,
    /// Also those that the image shows, which need not be there.
    Visible,
    /// Found among all paths together, not path by path.
    Image,
}

impl Rule {
    /// Which bytes it counts, in words.
    #[must_use]
    pub fn counts(&self) -> &'static str {
        match self.scope {
            Scope::Hidden => "hidden bytes",
            Scope::Visible => "hidden and visible bytes",
            Scope::Image => "visible bytes, beyond the first copy",
        }
    }

    pub(crate) fn has_names(&self) -> bool {
        !self.folders.is_empty() || !self.files.is_empty()
    }
}

/// What every rule has unless it says otherwise.
const PLAIN: Rule = Rule {
    name: "",
    title: "",
    folders: &[],
    files: &[],
    why: "",
    advice: "",
    source: "",
    option: None,
    scope: Scope::Hidden,
    when: Past::is_hidden,
    seen: Past::copies,
};

/// A package manager's downloads, which nothing reads after the installation.
const CACHE: Rule = Rule { scope: Scope::Visible, when: Past::always, option: Some("--remove"), ..PLAIN };

/// The name of the rule for secrets.
pub(crate) const SECRETS: &str = "secret-left-behind";
/// The name of the rule for equal content.
pub(crate) const DUPLICATES: &str = "duplicate-content";

/// Every cause.
pub const TABLE: &[Rule] = &[
    Rule {
        name: SECRETS,
        title: "Secrets that were deleted or replaced",
        folders: &[".aws", ".azure", ".config/gcloud", ".gnupg", ".kube", "/run/secrets"],
        files: &[
            "id_rsa",
            "id_dsa",
            "id_ecdsa",
            "id_ed25519",
            "ssh_host_rsa_key",
            "ssh_host_ecdsa_key",
            "ssh_host_ed25519_key",
            ".env",
            ".env.*",
            ".netrc",
            ".npmrc",
            ".pypirc",
            ".pgpass",
            ".my.cnf",
            ".git-credentials",
            ".dockercfg",
            ".htpasswd",
            ".vault-token",
            "kubeconfig",
            "credentials.json",
            "service-account*",
            "*.p12",
            "*.pfx",
            "*.jks",
            "*.keystore",
            "*.kdbx",
            "*.ppk",
            "*_rsa",
            "*-key.pem",
            "*.key",
        ],
        why: "Who can pull the image can read every layer, so what a later layer deletes or replaces is still there to be \
              read. The name promises a secret; the content was not looked at.",
        advice: "Take the secret for disclosed and change it. Squash the image and delete the old one from the registry; \
                 give builds their secrets with RUN --mount=type=secret.",
        source: "Docker documentation, \"Build secrets\"; OCI image-spec, layer.md, \"Whiteouts\"",
        when: Past::is_left_behind,
        seen: Past::left_behind,
        ..PLAIN
    },
    Rule {
        name: "copied-up-login-log",
        title: "A login log copied up by every commit",
        files: &["btmp", "wtmp", "lastlog", "faillog", "tallylog"],
        why: "An overlay copies a file up whole when a single byte is appended. With a password login open to the network, \
              every failed attempt adds a record to btmp, and every commit then stores the whole log again.",
        advice: "Squash with --truncate for the log; rotate it (logrotate, maxsize); close password login over SSH, or keep \
                 the log out of the committed file system.",
        source: "Linux kernel, filesystems/overlayfs, \"Non-directories\" (copy_up); utmp(5), lastb(1), sshd_config(5) \
                 PasswordAuthentication",
        option: Some("--truncate"),
        when: Past::is_copied_often,
        seen: Past::growth,
        ..PLAIN
    },
    Rule {
        name: "login-records-of-zeros",
        title: "Login records that hold zeros",
        files: &["/var/log/lastlog", "/var/log/faillog", "/var/log/tallylog"],
        why: "Each user number has a place in these files, so one user with a large number makes a file of holes, which a \
              layer holds as zeros: gigabytes for a number of ten digits. In an image they record nothing.",
        advice: "Give useradd --no-log-init (-l), or empty the files in the RUN that adds users; squash with --truncate.",
        source: "lastlog(8), \"Note\" on large user numbers; useradd(8), --no-log-init; Docker documentation, \"Building best \
                 practices\", USER",
        option: Some("--truncate"),
        scope: Scope::Visible,
        when: Past::has_zeros,
        seen: Past::zero_bytes,
        ..PLAIN
    },
    Rule {
        name: "copied-up-log",
        title: "A log copied up by every commit",
        folders: &["/var/log"],
        files: &["*.log", "*.journal", "nohup.out", "*.out", "*.jsonl"],
        why: "An overlay copies a file up whole when a single byte is appended, so each commit stores the whole log again.",
        advice: "Squash with --truncate for the log; rotate it, or write it to a volume or to standard output.",
        source: "Linux kernel, filesystems/overlayfs, \"Non-directories\" (copy_up); logrotate(8)",
        option: Some("--truncate"),
        when: Past::is_copied_often,
        seen: Past::growth,
        ..PLAIN
    },
    Rule {
        name: "copied-up-database",
        title: "A database copied up by every commit",
        folders: &["/var/lib/mysql", "/var/lib/postgresql", "/var/lib/mongodb", "/var/lib/redis", "/data/db"],
        files: &[
            "*.db",
            "*.sqlite",
            "*.sqlite3",
            "*.db-wal",
            "*.sqlite-wal",
            "*.mdb",
            "*.ibd",
            "ibdata1",
            "*.rdb",
            "*.aof",
        ],
        why: "A database changes a few pages of a large file, and an overlay copies the whole file up for the first of them.",
        advice: "Keep databases on a volume; squash to drop the old copies.",
        source: "Linux kernel, filesystems/overlayfs, \"Non-directories\" (copy_up)",
        when: Past::is_copied_often,
        seen: Past::growth,
        ..PLAIN
    },
    Rule {
        name: "package-database",
        title: "The package database, written anew by every installation",
        folders: &[
            "/var/lib/dpkg",
            "/var/lib/rpm",
            "/usr/lib/sysimage/rpm",
            "/lib/apk/db",
            "/var/cache/debconf",
            "/var/cache/ldconfig",
        ],
        files: &["ld.so.cache"],
        why: "Each layer that installs a package stores the list of all packages again.",
        advice: "Install everything in one RUN, or squash the layers above the base.",
        source: "Docker documentation, \"Building best practices\", RUN; dpkg(1), rpm(8), apk-database(5)",
        seen: Past::growth,
        ..PLAIN
    },
    Rule {
        name: "apt-cache",
        title: "Packages and lists that apt downloaded",
        folders: &["/var/cache/apt", "/var/lib/apt/lists"],
        why: "apt keeps what it downloads; an image that installs nothing more needs neither packages nor lists. Deleting \
              them in a later RUN leaves them in the layer.",
        advice: "End the RUN that installs with rm -rf /var/lib/apt/lists/* and apt-get clean, or use RUN \
                 --mount=type=cache.",
        source: "Docker documentation, \"Building best practices\", apt-get; apt-get(8), clean",
        ..CACHE
    },
    Rule {
        name: "dnf-cache",
        title: "Packages and metadata that dnf, yum or zypper downloaded",
        folders: &["/var/cache/dnf", "/var/cache/yum", "/var/cache/libdnf5", "/var/cache/zypp"],
        why: "The package manager keeps its metadata, and with keepcache its packages.",
        advice: "End the RUN that installs with dnf clean all (yum clean all, zypper clean --all).",
        source: "dnf(8), Clean Command",
        ..CACHE
    },
    Rule {
        name: "apk-cache",
        title: "The index and packages that apk downloaded",
        folders: &["/var/cache/apk", "/etc/apk/cache"],
        why: "apk keeps the index unless it is told not to.",
        advice: "Use apk add --no-cache.",
        source: "apk(8), --no-cache; apk-cache(5)",
        ..CACHE
    },
    Rule {
        name: "pip-cache",
        title: "Wheels that pip downloaded",
        folders: &[".cache/pip", ".cache/uv", ".cache/pypoetry", ".cache/pipenv"],
        why: "pip keeps every wheel that it downloads or builds, beside the package that it installs.",
        advice: "Use pip install --no-cache-dir (PIP_NO_CACHE_DIR=1), or RUN --mount=type=cache,target=/root/.cache.",
        source: "pip documentation, \"Caching\"",
        ..CACHE
    },
    Rule {
        name: "npm-cache",
        title: "Packages that npm, yarn or pnpm downloaded",
        folders: &[
            ".npm/_cacache",
            ".npm/_logs",
            ".cache/yarn",
            ".yarn/cache",
            "/usr/local/share/.cache/yarn",
            ".local/share/pnpm/store",
            ".cache/node-gyp",
            "node_modules/.cache",
        ],
        why: "The package manager keeps the archive of each package that it unpacks into node_modules.",
        advice: "End the RUN with npm cache clean --force (yarn cache clean, pnpm store prune), or mount the cache.",
        source: "npm documentation, npm-cache(1)",
        ..CACHE
    },
    Rule {
        name: "cargo-cache",
        title: "Crates that cargo downloaded",
        folders: &[".cargo/registry", ".cargo/git", "/usr/local/cargo/registry", "/usr/local/cargo/git"],
        why: "Cargo's home holds the index, the archives and the sources of every dependency; a built program needs none.",
        advice: "Build in a stage of its own and copy the program, or mount the registry as a cache.",
        source: "The Cargo Book, \"Cargo Home\"",
        ..CACHE
    },
    Rule {
        name: "go-cache",
        title: "Modules that go downloaded and objects that it built",
        folders: &["go/pkg/mod", ".cache/go-build"],
        why: "The module cache and the build cache serve later builds; a built program needs neither.",
        advice: "Build in a stage of its own and copy the program, or mount GOMODCACHE and GOCACHE as caches.",
        source: "go help cache; Go Modules Reference, \"Module cache\"",
        ..CACHE
    },
    Rule {
        name: "maven-cache",
        title: "Artefacts that Maven downloaded",
        folders: &[".m2/repository"],
        why: "Maven's local repository holds every dependency and plugin of the build.",
        advice: "Build in a stage of its own and copy the jar, or mount /root/.m2 as a cache.",
        source: "Maven documentation, \"Introduction to Repositories\"",
        ..CACHE
    },
    Rule {
        name: "gradle-cache",
        title: "Artefacts that Gradle downloaded",
        folders: &[".gradle/caches", ".gradle/wrapper", ".gradle/daemon"],
        why: "Gradle's user home holds every dependency, its own distribution and the logs of its daemon.",
        advice: "Build in a stage of its own and copy the jar, or mount the Gradle user home as a cache.",
        source: "Gradle User Manual, \"Gradle-managed Directories\"",
        ..CACHE
    },
    Rule {
        name: "conda-cache",
        title: "Packages that conda downloaded",
        folders: &[
            "conda/pkgs",
            "miniconda/pkgs",
            "miniconda3/pkgs",
            "anaconda3/pkgs",
            "miniforge3/pkgs",
            ".conda/pkgs",
        ],
        why: "conda keeps each package as an archive and unpacked, beside the environment that it is installed in.",
        advice: "End the RUN that installs with conda clean --all --yes.",
        source: "conda documentation, \"conda clean\"",
        ..CACHE
    },
    Rule {
        name: "core-dump",
        title: "Core dumps",
        folders: &["/var/lib/systemd/coredump", "/var/crash"],
        files: &["core", "core.*", "*.core", "*.hprof", "hs_err_pid*"],
        why: "A core dump is the memory of a process that crashed; it may hold secrets too.",
        advice: "Delete it in the RUN that made it, and squash with --remove what is there; set ulimit -c 0.",
        source: "core(5)",
        when: Past::is_dump,
        ..CACHE
    },
    Rule {
        name: "version-control",
        title: "A repository's history",
        folders: &[".git", ".hg", ".svn"],
        why: "COPY . takes the history of all versions along with the one that is built.",
        advice: "Name .git in .dockerignore.",
        source: "Docker documentation, \".dockerignore files\"; gitrepository-layout(5)",
        ..CACHE
    },
    Rule {
        name: "python-bytecode",
        title: "Bytecode beside Python's sources",
        folders: &["__pycache__"],
        files: &["*.pyc", "*.pyo"],
        why: "pip and the system's packages compile every module that they install, and its bytecode is as large as the source. \
              It holds times, so that it makes a rebuilt layer differ too. Without it a program's first start is slower.",
        advice: "Use pip install --no-compile and ENV PYTHONDONTWRITEBYTECODE=1, or delete __pycache__ in the RUN that installs.",
        source: "PEP 3147, \"PYC Repository Directories\"; Python documentation, \"Command line and environment\"",
        when: Past::is_bytecode,
        ..CACHE
    },
    Rule {
        name: "account-backup",
        title: "Backups that account tools leave",
        files: &[
            "/etc/passwd-",
            "/etc/group-",
            "/etc/shadow-",
            "/etc/gshadow-",
            "/etc/subuid-",
            "/etc/subgid-",
        ],
        why: "useradd, groupadd, usermod and passwd keep the file as it was before. Nothing reads it, it makes a rebuilt image \
              differ, and shadow- holds the password hashes of before.",
        advice: "Delete them in the RUN that adds users: rm -f /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow- /etc/sub?id-.",
        source: "shadow-utils, passwd(5) and shadow(5), FILES: \"Backup file\"",
        ..CACHE
    },
    Rule {
        name: "backup-file",
        title: "Backups and swap files of editors and tools",
        files: &[
            "*~",
            "*.bak",
            "*.swp",
            "*.swo",
            "*.orig",
            "*.rej",
            "*.old",
            "*.save",
            "*.dpkg-old",
            "*.rpmsave",
            ".DS_Store",
        ],
        why: "An editor or a tool left a second copy beside the file.",
        advice: "Name them in .dockerignore, and squash with --remove what is there.",
        source: "GNU Emacs manual, \"Single or Numbered Backups\"; Vim documentation, swap-file; dpkg(1)",
        ..CACHE
    },
    Rule {
        name: "temporary-file",
        title: "Temporary files",
        folders: &["/tmp", "/var/tmp", "/run", "/var/run", ".cache", "/var/cache"],
        files: &["*.tmp", "*.temp", "*.part", "*.crdownload"],
        why: "What is temporary for a build is permanent in its layer.",
        advice: "Delete temporary files in the RUN that makes them, or mount a tmpfs: RUN --mount=type=tmpfs,target=/tmp.",
        source: "Filesystem Hierarchy Standard 3.0, sections 3.18 and 5.15; file-hierarchy(7)",
        ..CACHE
    },
    Rule {
        name: "metadata-copy",
        title: "Files written again for another owner or mode",
        why: "chown and chmod copy the whole file into the new layer, though its content is the same byte for byte.",
        advice: "Set the owner when the file comes in: COPY --chown, COPY --chmod, or USER before the RUN that makes it.",
        source: "Dockerfile reference, COPY --chown --chmod; Linux kernel, filesystems/overlayfs, \"metacopy\"",
        when: Past::is_metadata_copy,
        seen: Past::metadata,
        ..PLAIN
    },
    Rule {
        name: "hard-link-copy",
        title: "Files written again for another name",
        why: "A hard link needs its file in the same layer, so linking to a file of a lower layer copies all of it up.",
        advice: "Make the link in the RUN that brings the file, or a symbolic link: ln -s.",
        source: "Linux kernel, filesystems/overlayfs, \"Non-standard behavior\" (hard links); OCI image-spec, layer.md, \
                 \"Hardlinks\"",
        when: Past::is_link_copy,
        seen: Past::metadata,
        ..PLAIN
    },
    Rule {
        name: "time-only-copy",
        title: "Files written again for another time",
        why: "Owner, mode and content are what they were; only the time differs. touch, a build that unpacks its inputs anew or \
              a COPY of files that were checked out again does that, and the layer holds all of them again.",
        advice: "Keep times (cp -p, tar, SOURCE_DATE_EPOCH with BuildKit's rewrite-timestamp), or bring the files in once; squash \
                 to drop the old copies.",
        source: "Linux kernel, filesystems/overlayfs, \"Non-directories\" (copy_up); BuildKit documentation, \"Build \
                 reproducibility\"",
        when: Past::is_time_copy,
        seen: Past::metadata,
        ..PLAIN
    },
    Rule {
        name: "identical-rewrite",
        title: "Files written again as they were",
        why: "A later layer holds the same file: content, owner, mode, attributes and time. Opening a file for writing copies it up \
              even when nothing is written, and some builders store whole directories again.",
        advice: "Find what opens it for writing, or which step copies it again; squash to drop the second copy.",
        source: "Linux kernel, filesystems/overlayfs, \"Non-directories\" (copy_up when opened for writing)",
        when: Past::is_identical,
        seen: Past::metadata,
        ..PLAIN
    },
    Rule {
        name: "growing-file",
        title: "A file that grows from layer to layer",
        why: "Something appends to it between commits, and each commit stores all of it again.",
        advice: "Keep it on a volume, or empty it before the commit; squash to drop the old copies.",
        source: "Linux kernel, filesystems/overlayfs, \"Non-directories\" (copy_up)",
        when: Past::grows,
        seen: Past::growth,
        ..PLAIN
    },
    Rule {
        name: "upgraded-base",
        title: "Packages of the base that were upgraded in a layer",
        why: "The base's files stay in its layers below the upgraded ones: a base that differs by its patch level only is \
              there twice.",
        advice: "Build on a current tag of the base instead of upgrading in a RUN, and rebuild when the base is patched.",
        source: "Docker documentation, \"Building best practices\", \"Rebuild your images often\"",
        when: Past::is_upgraded,
        seen: Past::deletion_or_copies,
        ..PLAIN
    },
    Rule {
        name: "build-output",
        title: "Build output beside the artefact",
        folders: &[
            "target/debug",
            "target/release/deps",
            "target/release/build",
            "target/release/incremental",
            "CMakeFiles",
            ".next/cache",
            "build/intermediates",
            "bazel-out",
        ],
        files: &["*.o", "*.obj", "*.gcda", "*.gcno", "*.tsbuildinfo"],
        why: "Objects and intermediate files are needed to build and not to run.",
        advice: "Build in a stage of its own and COPY --from it what runs.",
        source: "Docker documentation, \"Multi-stage builds\"",
        ..CACHE
    },
    Rule {
        name: "deleted-later",
        title: "Files deleted by a later layer",
        why: "A whiteout hides a file and frees nothing: the layer below still has it.",
        advice: "Delete it in the RUN that makes it, or build in a stage of its own; squash to drop it now.",
        source: "OCI image-spec, layer.md, \"Whiteouts\"; Docker documentation, \"Building best practices\"",
        when: Past::is_deleted,
        seen: Past::deletion,
        ..PLAIN
    },
    Rule {
        name: "repeated-entry",
        title: "Files that one layer holds twice",
        why: "The layer's archive has the path more than once; the last one is shown.",
        advice: "Mend the tool that made the layer; squash to drop the others.",
        source: "POSIX.1-2017, pax, \"ustar Interchange Format\": the last entry of a name is the one that is extracted",
        when: Past::is_repeated,
        ..PLAIN
    },
    Rule {
        name: "replaced-later",
        title: "Files replaced by a later layer",
        why: "A layer holds whole files: the replaced ones stay below those that replace them.",
        advice: "Bring the final content in once: order the build so that what changes comes last, or squash.",
        source: "OCI image-spec, layer.md, \"Change Types\"",
        ..PLAIN
    },
    Rule {
        name: "preallocated-file",
        title: "Sparse or preallocated files",
        why: "Layers hold holes and reserved space as zeros, which are unpacked in full on every node.",
        advice: "Create such files when the container starts, or remove them: --remove.",
        source: "GNU tar manual, \"Archiving Sparse Files\"; fallocate(1); OCI image-spec, layer.md (sparse files should not \
                 be used)",
        option: Some("--remove"),
        scope: Scope::Visible,
        when: Past::has_visible_zeros,
        seen: Past::zero_bytes,
        ..PLAIN
    },
    Rule {
        name: DUPLICATES,
        title: "The same content at several paths",
        why: "Layers know paths, not contents: equal files are stored and unpacked as often as they are there.",
        advice: "Make them links of one file: ln, or COPY once and link.",
        source: "OCI image-spec, layer.md, \"File Types\" (hard links)",
        scope: Scope::Image,
        ..PLAIN
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_says_why_what_to_do_and_where_that_is_written() {
        let mut names = std::collections::BTreeSet::new();
        for rule in TABLE {
            assert!(names.insert(rule.name), "{} is there twice", rule.name);
            for text in [rule.name, rule.title, rule.why, rule.advice, rule.source] {
                assert!(!text.is_empty(), "{}", rule.name);
            }
            assert!(rule.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{}", rule.name);
        }
        assert!(TABLE.len() < 200, "rules are numbered with a byte");
    }

    #[test]
    fn some_rule_takes_whatever_is_hidden() {
        let last =
            TABLE.iter().rfind(|rule| rule.scope == Scope::Hidden).map(|rule| (rule.name, rule.has_names()));
        assert_eq!(last, Some(("replaced-later", false)));
    }
}
