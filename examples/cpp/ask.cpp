// Asks an Alpamayo server over HTTP, KServe v2 with binary tensors, and prints the first trajectory and its thought.
//
//   apt install g++ libcurl4-openssl-dev nlohmann-json3-dev
//   g++ -std=c++17 -O2 -Wall -Wextra ask.cpp -o ask -lcurl
//   ./ask localhost:8000 ../scene '{"seed": 5, "deadline_ms": 2000}'
//
// The scene is a folder: camera*/*.jpg, sorted in the order of the model's camera indices, and of each oldest first;
// ego_history_xyz.json and ego_history_rot.json. Ctrl-C gives the call up, and the server stops working on it.

#include <curl/curl.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

volatile std::sig_atomic_t interrupted = 0;

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path.string());
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<fs::path> sorted(const fs::path& folder) {
  std::vector<fs::path> paths(fs::directory_iterator(folder), {});
  std::sort(paths.begin(), paths.end());
  return paths;
}

// A tensor of BYTES: every element with its length in front, 4 bytes, the lowest first.
void append(std::string& tensor, const std::string& bytes) {
  for (int shift = 0; shift < 32; shift += 8) tensor += static_cast<char>(bytes.size() >> shift & 0xff);
  tensor += bytes;
}

// 32 hexadecimal digits: the server wants an id that no other call has.
std::string unique_id() {
  std::random_device random;
  std::string id;
  for (int i = 0; i < 4; ++i) {
    char word[9];
    std::snprintf(word, sizeof word, "%08x", random());
    id += word;
  }
  return id;
}

struct Request {
  std::string header;  // JSON
  std::string binary;  // the frames
};

Request make_request(const fs::path& scene, const json& parameters, const std::string& id) {
  std::string binary;
  std::size_t cameras = 0, files = 0;
  for (const fs::path& camera : sorted(scene)) {
    if (!fs::is_directory(camera)) continue;
    ++cameras;
    for (const fs::path& frame : sorted(camera)) {
      append(binary, read_file(frame));
      ++files;
    }
  }
  if (cameras == 0 || files == 0 || files % cameras != 0)
    throw std::runtime_error(scene.string() + ": wanted a folder per camera, with as many frames in each");
  const json inputs = {
      {{"name", "ego_history_xyz"}, {"datatype", "FP32"}, {"shape", {16, 3}},
       {"data", json::parse(read_file(scene / "ego_history_xyz.json"))}},
      {{"name", "ego_history_rot"}, {"datatype", "FP32"}, {"shape", {16, 3, 3}},
       {"data", json::parse(read_file(scene / "ego_history_rot.json"))}},
      {{"name", "encoded_frames"}, {"datatype", "BYTES"}, {"shape", {cameras, files / cameras}},
       {"parameters", {{"binary_data_size", binary.size()}}}},
  };
  return {json{{"id", id}, {"parameters", parameters}, {"inputs", inputs}}.dump(), binary};
}

// Posts a body; returns the answer's JSON. Throws with the server's words if it refuses.
json post(const std::string& url, const Request& request, bool stop_on_interrupt) {
  const std::string body = request.header + request.binary;
  std::string answer;
  std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(curl_easy_init(), curl_easy_cleanup);
  curl_slist* lines = curl_slist_append(nullptr, "Content-Type: application/octet-stream");
  lines = curl_slist_append(lines, ("Inference-Header-Content-Length: " + std::to_string(request.header.size())).c_str());
  std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> headers(lines, curl_slist_free_all);

  const curl_write_callback write = [](char* data, std::size_t size, std::size_t count, void* answer) {
    static_cast<std::string*>(answer)->append(data, size * count);
    return size * count;
  };
  const curl_xferinfo_callback stop = [](void*, curl_off_t, curl_off_t, curl_off_t, curl_off_t) -> int {
    return interrupted;
  };
  curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDS, body.data());
  curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
  curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, write);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &answer);
  curl_easy_setopt(curl.get(), CURLOPT_XFERINFOFUNCTION, stop);
  curl_easy_setopt(curl.get(), CURLOPT_NOPROGRESS, stop_on_interrupt ? 0L : 1L);

  const CURLcode code = curl_easy_perform(curl.get());
  if (code != CURLE_OK) throw std::runtime_error(url + ": " + curl_easy_strerror(code));
  const json parsed = json::parse(answer);
  if (parsed.contains("error")) throw std::runtime_error(parsed["error"].get<std::string>());
  return parsed;
}

// Who only hangs up lets the server go on: this tells it.
void cancel(const std::string& models, const std::string& id) {
  const json inputs = {{{"name", "request_id"}, {"datatype", "BYTES"}, {"shape", {1}}, {"data", {id}}}};
  post(models + "alpamayo_cancel/infer", {json{{"inputs", inputs}}.dump(), ""}, false);
}

void print(const json& answer) {
  json data;
  for (const json& output : answer["outputs"]) data[output["name"].get<std::string>()] = output["data"];
  std::printf("thought: %s\n", data["cot"][0].dump().c_str());
  std::printf("seed: %lld\n", data["seed"][0].get<long long>());
  for (int i = 0; i < 64; ++i)
    std::printf("%.1f s: %.3f m ahead, %.3f m to the left\n", (i + 1) / 10.0, data["pred_xyz"][3 * i].get<double>(),
                data["pred_xyz"][3 * i + 1].get<double>());
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 3 || argc > 4) {
    std::fprintf(stderr, "usage: ask HOST:PORT SCENE [PARAMETERS as a JSON object]\n");
    return 2;
  }
  const std::string models = std::string("http://") + argv[1] + "/v2/models/", id = unique_id();
  const Request request = make_request(argv[2], json::parse(argc > 3 ? argv[3] : "{}"), id);
  std::signal(SIGINT, [](int) { interrupted = 1; });
  try {
    print(post(models + "alpamayo/infer", request, true));
  } catch (const std::exception&) {
    if (!interrupted) throw;
    cancel(models, id);
    throw std::runtime_error("given up, and the server was told");
  }
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "ask: %s\n", error.what());
  return 1;
}
