#include "command/written_model.hpp"

#include <cstddef>
#include <utility>

#include "qwenplan/base/parse.hpp"

namespace qwenplan {

Result<FoundModel> written_model(const Tables& tables, const std::string& written) {
  auto found = tables.model(written);
  if (found) return found;
  std::string path = written;
  if (const std::size_t at = path.rfind("/snapshots/"); at != std::string::npos) path.resize(at);
  while (!path.empty() && path.back() == '/') path.pop_back();
  std::string last = path.substr(path.find_last_of('/') + 1);
  if (last.starts_with("models--")) last = last.substr(last.rfind("--") + 2);
  for (std::size_t at; (at = last.find("___")) != std::string::npos;) last.replace(at, 3, ".");
  // What is behind these says how it is stored, not what it is.
  const std::string lower = lowered(last);
  for (const std::string_view ending :
       {"-unsloth-bnb-4bit", "-bnb-4bit", "-gptq-int4", "-gptq-int8", "-gptq", "-awq-int4", "-awq",
        "-fp8-dynamic", "-fp8", "-fp16", "-bf16"})
    if (lower.ends_with(ending)) {
      last.resize(last.size() - ending.size());
      break;
    }
  if (last.empty() || last == written) return found;
  auto again = tables.model(last);
  return again && !again->is_file ? again : found;
}

std::optional<StoredForm> stored_form(const std::string& model) {
  const std::string lower = lowered(model);
  const auto has = [&](std::string_view part) { return lower.find(part) != std::string::npos; };
  if (has("gptq") && has("int8")) return StoredForm{"GPTQ's 8 bits", std::nullopt};
  if (has("gptq")) return StoredForm{"GPTQ", Quantization::gptq_int4};
  if (has("-awq")) return StoredForm{"AWQ", Quantization::awq_int4};
  if (has("-unsloth-bnb-4bit")) return StoredForm{"bitsandbytes' 4 bits in part", std::nullopt};
  if (has("bnb-4bit")) return StoredForm{"bitsandbytes' 4 bits", Quantization::nf4};
  if (has("-fp8")) return StoredForm{"fp8", std::nullopt, !has("dynamic")};
  if (has("mxfp4") || has("gpt-oss")) return StoredForm{"mxfp4", std::nullopt, true};
  return std::nullopt;
}

}  // namespace qwenplan
