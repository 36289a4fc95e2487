"""JavaScript in a box with node, which BOXER_SANDBOX_NODE names; without it these are skipped. `cargo xtask sandboxes programs javascript` runs them."""

import os
import unittest

from boxer_sandbox import Sandbox

BOX = os.environ.get("BOXER_SANDBOX_NODE")


@unittest.skipIf(BOX is None, "there is no box with node")
class JavaScript(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sandbox = Sandbox.create(BOX, timeout=1200)

    @classmethod
    def tearDownClass(cls):
        cls.sandbox.kill()

    def run_code(self, code, **options):
        return self.sandbox.run_code(code, language="javascript", **options)

    def text(self, code):
        execution = self.run_code(code)
        self.assertIsNone(execution.error, code)
        return execution.text

    def test_declarations_live_on(self):
        self.assertIsNone(self.text("const x = 20; let y = 1; function f(a) { return a * x } class C {}"))
        self.assertEqual(self.text("f(2) + y"), "41")
        self.assertEqual(self.text("new C() instanceof C"), "true")
        self.assertEqual(self.run_code("const x = 3").error.name, "SyntaxError")
        self.assertEqual(self.text("{a: 1}"), "{ a: 1 }")

    def test_await_and_import_outside_of_functions(self):
        self.assertEqual(self.text("await new Promise((done) => setTimeout(done, 10)); 'slept'"), "'slept'")
        self.assertEqual(self.text("const { p, q: [r] } = await Promise.resolve({ p: 1, q: [2] }); p + r"), "3")
        self.assertEqual(self.text("p"), "1")
        self.assertEqual(self.text("const { sep } = await import('path')\nsep"), "'/'")
        self.assertEqual(self.run_code("await Promise.reject(new Error('no'))").error.value, "no")

    def test_output_and_errors(self):
        execution = self.run_code("console.log('hi', [1, { a: 2 }]); console.error('oh'); 'é'")
        self.assertEqual((execution.text, execution.logs.stdout, execution.logs.stderr), ("'é'", ["hi [ 1, { a: 2 } ]\n"], ["oh\n"]))
        error = self.run_code("function g() { null.x }\ng()").error
        self.assertEqual(error.name, "TypeError")
        self.assertIn("at g (<cell", error.traceback)
        self.assertEqual(self.run_code("throw 5").error.value, "5")
        self.assertEqual(self.run_code("(").error.name, "SyntaxError")
        unhandled = self.run_code("Promise.reject(new Error('unheard')); 1")
        self.assertEqual(unhandled.text, "1")
        self.assertIn("unheard", "".join(unhandled.logs.stderr))
        self.assertEqual("".join(self.run_code("console.log('a'.repeat(200_000))").logs.stdout), "a" * 200_000 + "\n")

    def test_limits(self):
        self.text("let kept = 1")
        for code in ("while (true) {}", "await new Promise(() => {})"):
            execution = self.run_code(code, timeout=2)
            self.assertEqual((execution.limit, execution.error.value), ("time", "Script execution was interrupted by `SIGINT`"))
        execution = self.run_code("while (true) {}", instructions=200_000_000)
        self.assertEqual((execution.limit, execution.error.name), ("instructions", "Error"))
        self.assertEqual(self.text("kept"), "1")
        execution = self.run_code("console.log('a'.repeat(9 << 20))")
        self.assertEqual(execution.limit, "output")

    def test_contexts_copies_and_pauses(self):
        self.text("globalThis.mine = 1")
        other = self.sandbox.create_code_context("javascript")
        self.assertEqual(self.sandbox.run_code("typeof mine", context=other).text, "'undefined'")
        copy, = self.sandbox.fork()
        self.assertEqual(copy.run_code("mine += 1", language="javascript").text, "2")
        copy.kill()
        self.sandbox.pause()
        self.sandbox.resume()
        self.assertEqual(self.text("mine"), "1")

    def test_one_that_exits_is_replaced(self):
        self.assertEqual(self.run_code("process.exit(3)").error.name, "ContextLost")
        self.assertEqual(self.text("1 + 1"), "2")

    def test_processes_and_files(self):
        self.assertEqual(self.text("require('child_process').execSync('echo child').toString()"), "'child\\n'")
        self.text("require('fs').writeFileSync('/tmp/from-js', 'x'.repeat(3))")
        self.assertEqual(self.sandbox.files.read("/tmp/from-js"), "xxx")


if __name__ == "__main__":
    unittest.main()
