# Tries to get the credentials that a cloud gives its machines, by every form of the address.
# With: network=egress
# gvisor: denied
import socket

from attempt import at_once

FORMS = [
    "169.254.169.254",
    "2852039166",
    "0xA9FEA9FE",
    "0251.0376.0251.0376",
    "169.254.43518",
    "[::ffff:169.254.169.254]",
]
FORMS += ["fd00:ec2::254", "fe80::a9fe:a9fe", "metadata.google.internal", "168.63.129.16", "100.100.100.200"]
at_once({form: lambda form=form: socket.create_connection((form.strip("[]"), 80), 1).recv(100) for form in FORMS})
