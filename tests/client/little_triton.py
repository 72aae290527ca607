"""Triton's protocol on a real socket, without a model behind it."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import np_to_triton_dtype, serialize_byte_tensor

STAGES = ["alpamayo_reasoner", "alpamayo_denoiser", "alpamayo_unicycle"]
SPEED_MPS = 9.0


def answer(sets=1, samples=1, seed=7, **replaced):
    """The outputs of a server by name: trajectory a of the set goes straight on, a metres to the left."""
    xyz = np.zeros((1, sets, samples, 64, 3), np.float32)
    xyz[..., 0] = SPEED_MPS * 0.1 * np.arange(1, 65)
    xyz[..., 1] = np.arange(sets * samples).reshape(1, sets, samples, 1)
    thoughts = [f"Thought {i}.".encode() for i in range(samples)]
    outputs = {
        "pred_xyz": xyz,
        "pred_rot": np.broadcast_to(np.eye(3, dtype=np.float32), (*xyz.shape, 3)).copy(),
        "cot": np.array([[thoughts] * sets], dtype=np.object_),
        "action": np.zeros((*xyz.shape[:-1], 2), np.float32),
        "within_bounds": np.ones((1, sets, samples), bool),
        "reasoning_complete": np.ones((1, sets, samples), bool),
        "seed": np.array([seed], np.int64),
        "denoiser_runner": np.array([b"torch 2, cpu"], dtype=np.object_),
    }
    return {name: array for name, array in {**outputs, **replaced}.items() if array is not None}


def response_message(outputs):
    """The protobuf message that carries `outputs`."""
    message = service_pb2.ModelInferResponse()
    for name, array in outputs.items():
        message.outputs.add(name=name, datatype=np_to_triton_dtype(array.dtype), shape=array.shape)
        raw = serialize_byte_tensor(array).item() if array.dtype == np.object_ else array.tobytes()
        message.raw_output_contents.append(raw)
    return message


class LittleTriton(service_pb2_grpc.GRPCInferenceServiceServicer, grpc.ServerInterceptor):
    """A server whose answers the test prepares."""

    def __init__(self, address="127.0.0.1:0"):
        self.ready = {"alpamayo", *STAGES}
        self.metadata_json = '{"checkpoint": "tiny"}'
        self.outputs = answer()
        self.fails_with = None
        self.metadata_fails_with = None
        self.requests = []
        self.left_s = []  # seconds that gRPC gives each of them
        self.cuda_regions = {}
        self.uncounted = 0  # statistics that come before the last stage has counted
        self.headers = []
        self._server = grpc.server(ThreadPoolExecutor(4), interceptors=[self])
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, self._server)
        self.url = f"127.0.0.1:{self._server.add_insecure_port(address)}"
        self._server.start()

    def stop(self):
        self._server.stop(grace=None).wait()

    def intercept_service(self, continuation, details):
        self.headers.append((details.method.rpartition("/")[2], dict(details.invocation_metadata)))
        return continuation(details)

    def ServerMetadata(self, request, context):  # noqa: N802
        if self.metadata_fails_with is not None:
            context.abort(*self.metadata_fails_with)
        return service_pb2.ServerMetadataResponse(name="triton", version="2.51.0")

    def ModelReady(self, request, context):  # noqa: N802
        return service_pb2.ModelReadyResponse(ready=request.name in self.ready)

    def ModelConfig(self, request, context):  # noqa: N802
        if request.name not in self.ready:
            context.abort(grpc.StatusCode.UNAVAILABLE, f"Request for unknown model: '{request.name}' is not found")
        response = service_pb2.ModelConfigResponse()
        response.config.name = request.name
        for stage in STAGES:
            response.config.ensemble_scheduling.step.add(model_name=stage)
        if self.metadata_json is not None:
            response.config.parameters["alpamayo"].string_value = self.metadata_json
        return response

    def ModelStatistics(self, request, context):  # noqa: N802
        response = service_pb2.ModelStatisticsResponse()
        for i, name in enumerate(["alpamayo", *STAGES]):
            late = name == STAGES[-1] and self.uncounted > 0
            count = len(self.requests) - late
            stats = response.model_stats.add(name=name, version="1").inference_stats
            stats.success.count = count
            stats.queue.ns = count * 1_000_000
            stats.compute_input.ns = stats.compute_infer.ns = stats.compute_output.ns = count * i * 1_000_000_000
        self.uncounted -= 1
        return response

    def CudaSharedMemoryRegister(self, request, context):  # noqa: N802
        if request.name in self.cuda_regions:
            context.abort(grpc.StatusCode.ALREADY_EXISTS, f"shared memory region '{request.name}' already in manager")
        self.cuda_regions[request.name] = (request.raw_handle, request.device_id, request.byte_size)
        return service_pb2.CudaSharedMemoryRegisterResponse()

    def CudaSharedMemoryUnregister(self, request, context):  # noqa: N802
        del self.cuda_regions[request.name]
        return service_pb2.CudaSharedMemoryUnregisterResponse()

    def ModelInfer(self, request, context):  # noqa: N802
        self.requests.append(request)
        self.left_s.append(context.time_remaining())
        answer = self.answer_infer(request)
        failure = answer if isinstance(answer, tuple) else self.fails_with
        if failure is not None:
            context.abort(*failure)
        return answer

    def answer_infer(self, request):
        """For tests to replace; may be a failure, (status, words), of this request alone."""
        return response_message(self.outputs)
