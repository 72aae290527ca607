"""The KServe v2 protocol's messages for grpcurl, out of NVIDIA's Python client: python protoset.py > kserve.protoset

Without Python: NVIDIA's grpc_service.proto and model_config.proto do as well, with grpcurl's -proto and -import-path.
"""

import sys

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from tritonclient.grpc import model_config_pb2, service_pb2

messages = FileDescriptorSet()
for module in (model_config_pb2, service_pb2):
    module.DESCRIPTOR.CopyToProto(messages.file.add())
sys.stdout.buffer.write(messages.SerializeToString())
