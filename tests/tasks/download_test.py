"""Tests of downloads from a server on this machine that breaks off, knows ranges or not, or sends another file."""

import concurrent.futures
import hashlib
import http.server
import pathlib
import threading
import time

from absl.testing import absltest, parameterized

from maml_tf.tasks.download import download

CONTENT = bytes(range(256)) * 4000
MD5 = hashlib.md5(CONTENT).hexdigest()


class _Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT as the server's attributes say, and notes what was asked for."""

    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        if self.path != "/file.zip":
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.server.knows_ranges else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        content = self.server.content[start:]
        time.sleep(self.server.seconds)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: self.server.breaks_off_after])
        self.close_connection = True

    def log_message(self, *arguments):
        pass


class DownloadTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.server.content, self.server.knows_ranges, self.server.breaks_off_after = CONTENT, True, None
        self.server.asked, self.server.seconds = [], 0.0
        thread = threading.Thread(target=self.server.serve_forever)
        thread.start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(self.server.shutdown)
        self.path = pathlib.Path(self.create_tempdir().full_path, "data", "file.zip")
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/file.zip"

    def files(self):
        return sorted(path.name for path in self.path.parent.iterdir())

    def break_off(self, after):
        self.server.breaks_off_after = after
        with self.assertRaisesRegex(OSError, r"Expected to download http.*file.zip.*Received: .*Try again"):
            download(self.url, self.path, MD5)
        self.server.breaks_off_after = None
        self.assertEqual(self.files(), ["file.zip.part"])

    def test_downloads_once(self):
        with self.assertLogs("absl", "INFO") as logs:
            self.assertEqual(download(self.url, self.path, MD5), self.path)
        self.assertRegex(logs.output[0], "downloading http://127.0.0.1.*/file.zip")
        self.assertEqual(self.path.read_bytes(), CONTENT)
        self.assertEqual(self.files(), ["file.zip"])
        download(self.url, self.path, MD5)
        self.assertEqual(self.server.asked, [None])

    def test_of_a_file(self):
        source = self.create_tempfile(content=CONTENT, mode="wb")
        download(pathlib.Path(source.full_path).as_uri(), self.path, MD5)
        self.assertEqual(self.path.read_bytes(), CONTENT)

    def test_creates_the_folders_of_the_file(self):
        path = self.path.parent / "omniglot" / "file.zip"
        download(self.url, path, MD5)
        self.assertEqual(path.read_bytes(), CONTENT)

    def test_a_file_in_a_folder_that_cannot_be_written_to_is_taken(self):
        download(self.url, self.path, MD5)
        with absltest.mock.patch("maml_tf.tasks.download.alone", side_effect=PermissionError):
            self.assertEqual(download(self.url, self.path, MD5), self.path)

    def test_an_interrupted_transfer_goes_on_where_it_broke_off(self):
        self.break_off(300_000)
        self.assertEqual(self.path.with_name("file.zip.part").stat().st_size, 300_000)
        self.break_off(500_000)
        download(self.url, self.path, MD5)
        self.assertEqual(self.server.asked, [None, "bytes=300000-", "bytes=800000-"])
        self.assertEqual(self.path.read_bytes(), CONTENT)
        self.assertEqual(self.files(), ["file.zip"])

    def test_a_server_without_ranges_sends_it_anew(self):
        self.break_off(300_000)
        self.server.knows_ranges = False
        download(self.url, self.path, MD5)
        self.assertEqual(self.server.asked, [None, "bytes=300000-"])
        self.assertEqual(self.path.read_bytes(), CONTENT)

    @parameterized.parameters(b"another file's beginning", b"x" * len(CONTENT), b"x" * (len(CONTENT) + 5))
    def test_a_part_of_another_file_is_started_again(self, part):
        self.path.parent.mkdir()
        self.path.with_name("file.zip.part").write_bytes(part)
        download(self.url, self.path, MD5)
        self.assertEqual(self.path.read_bytes(), CONTENT)
        self.assertEqual(self.files(), ["file.zip"])

    def test_a_part_that_is_whole_is_taken(self):
        self.path.parent.mkdir()
        self.path.with_name("file.zip.part").write_bytes(CONTENT)
        download(self.url, self.path, MD5)
        self.assertEqual(self.server.asked, [f"bytes={len(CONTENT)}-"])
        self.assertEqual(self.path.read_bytes(), CONTENT)

    def test_of_two_at_once_one_downloads_and_the_other_waits(self):
        self.server.seconds = 0.5
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            both = [pool.submit(download, self.url, self.path, MD5) for _ in range(2)]
        self.assertEqual([one.result() for one in both], [self.path] * 2)
        self.assertEqual(self.server.asked, [None])
        self.assertEqual(self.path.read_bytes(), CONTENT)
        self.assertEqual(self.files(), ["file.zip"])

    def test_when_the_first_of_two_fails_the_other_downloads(self):
        self.server.seconds, self.server.breaks_off_after = 0.5, 300_000
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            both = [pool.submit(download, self.url, self.path, MD5) for _ in range(2)]
        errors = [one.exception() for one in both]
        self.assertEqual([type(error) for error in errors], [OSError, OSError])
        self.assertEqual(self.server.asked, [None, "bytes=300000-"])
        self.assertEqual(self.path.with_name("file.zip.part").read_bytes(), CONTENT[:600_000])

    def test_a_file_that_is_not_the_one_is_downloaded_again(self):
        self.path.parent.mkdir()
        self.path.write_bytes(b"half of it, from a program that was killed")
        with self.assertLogs("absl", "WARNING") as logs:
            download(self.url, self.path, MD5)
        self.assertRegex(logs.output[0], "file.zip is not the file expected")
        self.assertEqual(self.path.read_bytes(), CONTENT)

    def test_another_file_is_an_error_and_not_kept(self):
        self.server.content = b"x" * 100
        received = hashlib.md5(b"x" * 100).hexdigest()
        with self.assertRaisesRegex(OSError, f"with MD5 {MD5} to .*data. Received: a file with MD5 {received}. Try"):
            download(self.url, self.path, MD5)
        self.assertEmpty(self.files())
        self.assertEqual(self.server.asked, [None])

    def test_a_file_that_is_not_there(self):
        with self.assertRaisesRegex(OSError, "Received: HTTP Error 404.*by other means and pass its folder"):
            download(self.url.replace("file.zip", "gone.zip"), self.path, MD5)
        self.assertEmpty(self.files())

    def test_nobody_answers(self):
        self.server.shutdown()
        self.server.server_close()
        with self.assertRaisesRegex(OSError, "Expected to download .*Received: .*Connection refused.*Try again"):
            download(self.url, self.path, MD5)

    def test_an_answer_that_is_not_of_http(self):
        def hello(handler):
            handler.wfile.write(b"hello\r\n")

        with absltest.mock.patch.object(_Handler, "do_GET", hello):
            with self.assertRaisesRegex(OSError, "Expected to download .*Received: hello"):
                download(self.url, self.path, MD5)

    def test_a_server_that_says_nothing_is_not_waited_for_for_ever(self):
        self.server.seconds = 0.5
        with absltest.mock.patch("maml_tf.tasks.download._TIMEOUT_SECONDS", 0.1):
            with self.assertRaisesRegex(OSError, "Expected to download .*Received: timed out"):
                download(self.url, self.path, MD5)

    def test_a_folder_that_cannot_be_made(self):
        self.path.parent.touch()
        with self.assertRaisesRegex(OSError, "Expected to download .*Received: .*File exists: .*data"):
            download(self.url, self.path, MD5)


if __name__ == "__main__":
    absltest.main()
