"""Runs the action's script with inputs as GitHub passes them: test.py BOXER, the program to build with."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).parent
BOXER = pathlib.Path(sys.argv.pop(1)).resolve()


class Action(unittest.TestCase):
    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.folder = pathlib.Path(self.temporary.name)
        (self.folder / "runner").mkdir()
        (self.folder / "app").mkdir()
        (self.folder / "app/Dockerfile").write_text(
            "FROM scratch AS base\nARG GREETING\nARG LINES\nLABEL greeting=$GREETING lines=$LINES\nCOPY a.txt /\n"
            "FROM base AS other\nCOPY missing /\n"
        )
        (self.folder / "app/a.txt").write_text("a\n")
        self.addCleanup(self.temporary.cleanup)

    def act(self, **inputs):
        """The step's status, what it printed, its outputs."""
        output = self.folder / "output"
        output.touch()
        names = [name.replace("_", "-") for name in inputs]
        done = subprocess.run(
            [sys.executable, HERE / "build.py"],
            cwd=self.folder,
            env={
                "PATH": f"{BOXER.parent}:/usr/bin:/bin",
                "HOME": self.temporary.name,
                "RUNNER_TEMP": str(self.folder / "runner"),
                "GITHUB_OUTPUT": str(output),
                "BUILDKIT_PROGRESS": "quiet",
                "TOKEN": "of the environment",
                "BOXER_INPUTS": json.dumps(dict(zip(names, inputs.values()))),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        outputs = {}
        lines = iter(output.read_text().splitlines())
        for line in lines:
            name, end = line.split("<<")
            outputs[name] = "\n".join(iter(lambda: next(lines), end))
        return done.returncode, done.stdout + done.stderr, outputs

    def test_a_box_with_everything(self):
        defaults = {"load": "false", "no-cache": "false", "pull": "false", "push": "false", "builder": "", "ssh": ""}
        status, said, outputs = self.act(
            **{name.replace("-", "_"): value for name, value in defaults.items()},
            context="app",
            target="base",
            tags="x:1, x:2\ny:3\n",
            build_args='GREETING=a, b $(touch hacked) `touch hacked`\n"LINES=one\ntwo ""quoted"""\n',
            labels="k=v\n\n  with=blanks and, comma  \n",
            outputs="type=oci,dest=image.tar\ntype=tar,dest=files.tar",
            add_hosts="one:10.0.0.1,two:10.0.0.2",
            platforms="linux/amd64",
        )
        self.assertEqual(status, 0, said)
        self.assertFalse((self.folder / "hacked").exists())
        self.assertTrue((self.folder / "image.tar").exists() and (self.folder / "files.tar").exists())
        metadata = json.loads(outputs["metadata"])
        self.assertEqual(outputs["digest"], metadata["containerimage.digest"])
        self.assertRegex(outputs["imageid"], "^sha256:[0-9a-f]{64}$")
        shown = subprocess.run(
            [BOXER, "inspect", "--image", "x:2"],
            env={"HOME": self.temporary.name},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for text in ["a, b $(touch hacked) `touch hacked`", 'one\\ntwo \\"quoted\\"', "blanks and, comma"]:
            self.assertIn(text, shown)
        self.assertEqual(list((self.folder / "runner").iterdir()), [])

    def test_secrets_are_files_that_go_away(self):
        sys.path.insert(0, str(HERE))
        import build

        (self.folder / "file").write_text("of a file")
        call = build.arguments(
            {"secrets": 'one=a,b=c\n"two=first\nsecond"', "secret-envs": "three=TOKEN", "secret-files": f"four={self.folder}/file"},
            self.folder,
        )
        options = dict(word.removeprefix("--secret=id=").split(",", 1) for word in call if word.startswith("--secret"))
        content = {key: value.removeprefix("src=") for key, value in options.items()}
        self.assertEqual(pathlib.Path(content["one"]).read_text(), "a,b=c")
        self.assertEqual(pathlib.Path(content["one"]).stat().st_mode & 0o777, 0o600)
        self.assertEqual(pathlib.Path(content["two"]).read_text(), "first\nsecond")
        self.assertEqual((options["three"], content["four"]), ("env=TOKEN", f"{self.folder}/file"))
        self.assertEqual(call[-2:], ["--", "."])

    def test_what_is_refused_is_named(self):
        for inputs, text in [
            ({"buildd": "x", "tagz": "y"}, "unknown inputs: buildd, tagz"),
            ({"builder": "mine"}, "input builder"),
            ({"github_token": "x"}, "input github-token"),
            ({"push": "yes"}, "input push"),
            ({"secrets": "just-a-name"}, "input secrets"),
            ({"secret_files": "a=/no/such/file"}, "/no/such/file"),
            ({"cgroup_parent": "x"}, "--cgroup-parent"),
            ({"ulimit": "files=1:1"}, "--ulimit"),
            ({"platforms": "linux/amd64,linux/arm64"}, "linux/arm64"),
            ({"cache_to": "type=s3,bucket=b"}, "s3"),
            ({"target": "other"}, "missing"),
        ]:
            with self.subTest(inputs):
                status, said, outputs = self.act(context="app", **inputs)
                self.assertNotEqual(status, 0)
                self.assertIn(text, said)
                self.assertIn("::error::", said)
                self.assertEqual(outputs, {})


if __name__ == "__main__":
    unittest.main()
