"""The files of a sandbox as archives. BOXER is the program, BOXER_SANDBOX_TEMPLATE a box of Debian with python3."""

import gzip
import hashlib
import os
import tarfile
import tempfile
import unittest

from boxer_sandbox import InvalidArgumentException, Sandbox, SandboxException


class Export(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sandbox = Sandbox()
        cls.folder = tempfile.TemporaryDirectory()
        cls.sandbox.commands.run(
            "cd /tmp && mkdir -p a/b && printf new > a/b/new && ln a/b/new a/hard && ln -s b/new a/soft && mkfifo a/fifo"
            " && chmod 640 a/b/new && chown nobody:nogroup a/b/new && touch -d @86400 a/b/new"
            " && printf more >> /etc/issue && rm /etc/debian_version && rm -r /usr/share/doc/bash && chmod 700 /opt"
            " && printf x > 'strange é name' && truncate -s 300000 a/sparse"
        )

    @classmethod
    def tearDownClass(cls):
        cls.sandbox.kill()
        cls.folder.cleanup()

    def export(self, **options):
        path = os.path.join(self.folder.name, "archive")
        exported = self.sandbox.export(path, **options)
        with open(path, "rb") as file:
            data = file.read()
        self.assertEqual(exported.digest, "sha256:" + hashlib.sha256(data).hexdigest())
        self.assertEqual(exported.size, len(data))
        plain = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        self.assertEqual(exported.diff_id, "sha256:" + hashlib.sha256(plain).hexdigest())
        archive = tarfile.open(path)
        self.addCleanup(archive.close)
        self.assertEqual(len(archive.getmembers()), exported.entries)
        self.assertEqual(os.listdir(self.folder.name), ["archive"])
        return exported, archive

    def test_changes_as_tar(self):
        exported, archive = self.export()
        self.assertEqual(exported.media_type, "application/x-tar")
        names = archive.getnames()
        self.assertNotIn("etc/debian_version", names)
        self.assertFalse([name for name in names if ".wh." in name or name.startswith(("proc", "sys", "dev", "usr"))])
        one, two = sorted(["tmp/a/b/new", "tmp/a/hard"])
        linked = archive.getmember(two) if archive.getmember(two).islnk() else archive.getmember(one)
        self.assertTrue(linked.islnk())
        new = archive.getmember("tmp/a/b/new" if not archive.getmember("tmp/a/b/new").islnk() else "tmp/a/hard")
        self.assertEqual((new.mode, new.uid, new.mtime, archive.extractfile(new).read()), (0o640, 65534, 86400, b"new"))
        self.assertEqual(archive.getmember("tmp/a/soft").linkname, "b/new")
        self.assertTrue(archive.getmember("tmp/a/fifo").isfifo())
        self.assertEqual(archive.getmember("opt").mode, 0o700)
        self.assertTrue(archive.extractfile("etc/issue").read().endswith(b"more"))
        self.assertEqual(archive.extractfile("tmp/a/sparse").read(), bytes(300000))
        self.assertIn("tmp/strange é name", names)

    def test_changes_as_a_layer_have_whiteouts(self):
        exported, archive = self.export(format="layer")
        self.assertEqual(exported.media_type, "application/vnd.oci.image.layer.v1.tar+gzip")
        names = archive.getnames()
        for whiteout in ("etc/.wh.debian_version", "usr/share/doc/.wh.bash"):
            self.assertEqual(archive.getmember(whiteout).size, 0)
        self.assertEqual([name for name in names if name.startswith("usr/share/doc/bash")], [])
        self.assertEqual(names.index("tmp/a") < names.index("tmp/a/b") < names.index("tmp/a/b/new"), True)
        # Directories above are as they were.
        self.assertEqual(archive.getmember("tmp").mode, 0o1777)

    def test_all(self):
        _, archive = self.export(what="all")
        names = set(archive.getnames())
        self.assertLessEqual({"bin", "usr/bin/env", "etc/issue", "tmp/a/b/new", "proc", "dev", "sys"}, names)
        self.assertNotIn("etc/debian_version", names)
        listed = self.sandbox.commands.run("cat /usr/bin/env | sha256sum").stdout.split()[0]
        self.assertEqual(hashlib.sha256(archive.extractfile("usr/bin/env").read()).hexdigest(), listed)

    def test_a_copy_without_changes_has_none(self):
        with Sandbox() as sandbox:
            path = os.path.join(self.folder.name, "nothing")
            self.addCleanup(os.unlink, path)
            self.assertEqual(sandbox.export(path, format="layer").entries, 0)

    def test_what_cannot_be_is_refused_and_leaves_no_file(self):
        path = os.path.join(self.folder.name, "none")
        with self.assertRaises(InvalidArgumentException):
            self.sandbox.export(path, format="zip")
        with Sandbox() as sandbox:
            sandbox.commands.run("truncate -s 1T /tmp/huge")
            with self.assertRaisesRegex(SandboxException, "bytes"):
                sandbox.export(path)
            sandbox.commands.run("rm /tmp/huge; echo x > /tmp/.wh.x")
            with self.assertRaisesRegex(SandboxException, "wh"):
                sandbox.export(path)
        self.assertFalse(os.path.exists(path))


if __name__ == "__main__":
    unittest.main()
