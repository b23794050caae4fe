"""Errors of requests, with gRPC and HTTP status codes."""

from __future__ import annotations

import grpc

# As TensorFlow Serving maps its codes (tensorflow/serving, model_servers/http_server.cc). One
# difference: a full queue is RESOURCE_EXHAUSTED here and UNAVAILABLE there. 429 makes a client
# retry, whereas 503 would make a load balancer turn away.
HTTP_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}


class ServingError(Exception):
    """A refused or failed request; the text is for the client and contains no server path.

    Args:
      code: gRPC code; one of `HTTP_STATUS`.
      http_status: a more exact HTTP status (413 for a body over the limit).
    """

    def __init__(self, code: grpc.StatusCode, message: str, http_status: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.http_status = http_status or HTTP_STATUS[code]


def invalid(message: str) -> ServingError:
    """Error for a malformed request."""
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)


def too_large(largest: int) -> ServingError:
    """Error for a body above the size limit."""
    message = f"the body is larger than {largest} bytes, which is the limit"
    return ServingError(grpc.StatusCode.RESOURCE_EXHAUSTED, message, 413)
