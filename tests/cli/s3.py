"""S3 as moto speaks it, over TLS and with one bucket. Says "ready" once it answers.

Usage: s3.py PORT CERTIFICATE KEY
"""

import http.client
import ssl
import sys
import threading
import time

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

port, certificate, key = int(sys.argv[1]), sys.argv[2], sys.argv[3]


def make_bucket():
    signed = {"Authorization": "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request"}
    while True:
        try:
            context = ssl._create_unverified_context()
            connection = http.client.HTTPSConnection("127.0.0.1", port, context=context)
            connection.request("PUT", "/bucket", headers=signed)
            assert connection.getresponse().status == 200
            print("ready", flush=True)
            return
        except ConnectionRefusedError:
            time.sleep(0.05)


threading.Thread(target=make_bucket, daemon=True).start()
app = DomainDispatcherApplication(create_backend_app)
run_simple("127.0.0.1", port, app, threaded=True, ssl_context=(certificate, key))
