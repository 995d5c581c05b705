"""What doi.org and arxiv.org answer, recorded in their form, and a way to hand it out without a network."""

import io
import urllib.error
import urllib.request
from email.message import Message

ARXIV = """@misc{roe2020newlossimage,
      title={A New Loss for Image Segmentation},
      author={Richard Roe and María van den Berg},
      year={2020},
      eprint={2001.12345},
      archivePrefix={arXiv},
      primaryClass={cs.CV},
      url={https://arxiv.org/abs/2001.12345},
}"""
DOI = (
    " @inproceedings{Berg_2020, title={The New: Loss of Images}, ISBN={9783319673899}, ISSN={1611-3349}, "
    "url={http://dx.doi.org/10.1007/978-3-319-67389-9_44}, DOI={10.1007/978-3-319-67389-9_44}, "
    "booktitle={Machine Learning in Examples}, publisher={Springer International Publishing}, "
    "author={van den Berg, María and Roe, Richard}, year={2020}, pages={379–387} }\n"
)
ANSWERS = {
    "https://arxiv.org/bibtex/2001.12345": ARXIV,
    "https://doi.org/10.1007/978-3-319-67389-9_44": DOI,
    "https://doi.org/10.1000/page": "<html>no record</html>",
    "https://doi.org/10.1000/endless": "x" * 200_000,
}
FAILURES = {
    "https://doi.org/10.1000/slow": TimeoutError("timed out"),
    "https://doi.org/10.1000/offline": urllib.error.URLError("Name or service not known"),
}


def opened(request: urllib.request.Request, timeout: float) -> io.BytesIO:
    """Stands in for `urllib.request.urlopen`."""
    assert 0 < timeout <= 30, "a look-up must end"
    address = request.full_url
    if address in FAILURES:
        raise FAILURES[address]
    if address not in ANSWERS:
        raise urllib.error.HTTPError(address, 404, "Not Found", Message(), None)
    return io.BytesIO(ANSWERS[address].encode())
