#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "cli/spelling.hpp"
#include "command/command.hpp"
#include "command/guide_answer.hpp"
#include "probe/folders.hpp"
#include "qwenplan/base/nearest.hpp"
#include "qwenplan/estimate/storage.hpp"
#include "render/quantity.hpp"
#include "render/shell.hpp"

namespace qwenplan::command {
namespace {

namespace fs = std::filesystem;

Error wrong(std::string what, std::string where, std::string hint) {
  return {Error::Kind::wrong, std::move(what), std::move(where), std::move(hint)};
}

/// The folder without dots and from the root, whether it is there or not.
std::string absolute(const std::string& folder) {
  std::error_code error;
  std::string path = fs::absolute(folder, error).lexically_normal().string();
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

/// "24h", "7d", "90min", "1w" in seconds.
Result<std::int64_t> parse_age(const std::string& text) {
  constexpr std::pair<std::string_view, std::int64_t> kUnits[] = {
      {"s", 1}, {"m", 60}, {"min", 60}, {"h", 3600}, {"d", 86'400}, {"w", 7 * 86'400}};
  const std::size_t digits = text.find_first_not_of("0123456789");
  const std::string unit = digits == std::string::npos ? "" : folded(text.substr(digits));
  for (const auto& [name, seconds] : kUnits)
    if (unit == name && digits > 0) {
      const auto count = parse_whole(text.substr(0, digits), "--older-than", 0, 1'000'000);
      if (!count) return count.error();
      return *count * seconds;
    }
  return wrong("'" + text + "' is no age", "--older-than",
               "write it with its unit: 24h, 7d, 90min");
}

Value left_json(const std::vector<LeftAlone>& left) {
  Value list = Value::list();
  for (const LeftAlone& each : left)
    list.push(Value::object({{"path", each.path}, {"why", each.why}}));
  return list;
}

std::string counted(std::size_t count, const std::string& one, const std::string& many) {
  return std::to_string(count) + " " + (count == 1 ? one : many);
}

}  // namespace

Result<Answer> storage_init(const Invocation& in) {
  if (in.uses_guide)
    return Error{Error::Kind::unknown, "the guide has no arithmetic for making folders",
                 "--estimator", "leave it out; storage layout --estimator guide shows its trees"};
  const std::string name = in.value("layout").value_or("recommended");
  const Layout* layout = layout_named(folded(name));
  if (!layout) {
    const auto near = nearest(folded(name), {"budget", "recommended", "professional"});
    return wrong("unknown layout '" + name + "'", "--layout",
                 near.empty() ? "one of: budget, recommended, professional"
                              : "did you mean '" + near[0] + "'?");
  }
  std::vector<std::string_view> paths;
  for (const Folder& folder : layout->folders) paths.push_back(folder.path);
  const auto tree = make_tree(in.words[0], paths);
  if (!tree) return tree.error();

  Answer answer;
  answer.schema = "qwenplan.storage-init/1";
  answer.inputs.push_back({"folder", Value(in.words[0]), "flag"});
  answer.inputs.push_back({"layout", Value(layout->name), in.has("layout") ? "flag" : "default"});
  const auto listed = [](const std::vector<std::string>& items) {
    Value list = Value::list();
    for (const std::string& item : items) list.push(item);
    return list;
  };
  answer.json.set("made", listed(tree->made));
  answer.json.set("kept", listed(tree->kept));
  answer.json.set("left", left_json(tree->left));
  answer.add(Headline{tree->made.empty()
                          ? "nothing to make: the " + std::string(layout->name) + " layout is there"
                          : "made " + counted(tree->made.size(), "folder", "folders") + " of the " +
                                std::string(layout->name) + " layout",
                      Tone::good});
  Table table{{{"folder"}, {""}}, {}};
  for (const Folder& folder : layout->folders) {
    const std::string path(folder.path);
    const auto is_in = [&](const std::vector<std::string>& list) {
      return std::find(list.begin(), list.end(), path) != list.end();
    };
    table.rows.push_back({path + "/", is_in(tree->made)   ? "made"
                                      : is_in(tree->kept) ? "was there"
                                                          : "left alone: symbolic link"});
  }
  answer.add(std::move(table));
  answer.add(
      Paragraph{"eval \"$(qwenplan storage env DIR)\" points the caches there", Tone::faint});
  return answer;
}

Result<Answer> storage_env(const Invocation& in) {
  const std::string& given = in.words[0];
  constexpr const char* kSchema = "qwenplan.storage-env/1";
  if (given.empty()) return wrong("no folder is named", "DIR", "such as ~/arabic-qwen");
  if (in.uses_guide) {
    Answer answer = guide_answer(
        kSchema, {{"optimize_cache_settings", guide_value(guide::optimize_cache_settings(given))}},
        {guide::GuideSystem::cache_settings});
    answer.inputs.push_back({"folder", Value(given), "flag"});
    return answer;
  }
  const std::string base = absolute(given);
  std::error_code error;
  const fs::file_status status = fs::status(base, error);
  if (fs::exists(status) && !fs::is_directory(status))
    return wrong("'" + given + "' is no folder", given, "name a folder");

  Answer answer;
  answer.schema = kSchema;
  answer.inputs.push_back({"folder", Value(base), "flag"});
  struct Variable {
    const char* name;
    const char* folder;
    const char* use;
  };
  std::vector<Variable> variables = {
      {"HF_HOME", "models/base_models", "Hugging Face: everything that has no variable of its own"},
      {"HF_HUB_CACHE", "models/base_models/hub", "models and data sets as downloaded"},
      {"HF_DATASETS_CACHE", "datasets/cache", "Arrow files of datasets"},
      {"TORCH_HOME", "models/base_models/torch", "torch.hub"},
      {"TORCHINDUCTOR_CACHE_DIR", "temp/inductor", "kernels of torch.compile"},
      {"TRITON_CACHE_DIR", "temp/triton", "kernels of Triton"}};
  if (fs::is_directory(base + "/temp", error))
    variables.push_back({"TMPDIR", "temp", "temporary files"});
  std::string lines;
  Value& members = answer.json.set("variables", Value::object());
  Value rows = Value::list();
  for (const Variable& each : variables) {
    const std::string path = base + "/" + each.folder;
    lines += std::string("export ") + each.name + "=" + shell_quoted(path) + "\n";
    members.set(each.name, path);
    rows.push(Value::object({{"variable", each.name}, {"value", path}, {"use", each.use}}));
  }
  answer.rows = std::move(rows);
  answer.json.set("deprecated",
                  Value::list({Value::object({{"variable", "TRANSFORMERS_CACHE"},
                                              {"instead", "HF_HUB_CACHE"},
                                              {"why", "transformers 5 does not read it any more"}}),
                               Value::object({{"variable", "HUGGINGFACE_HUB_CACHE"},
                                              {"instead", "HF_HUB_CACHE"},
                                              {"why", "its older name"}})}));
  answer.notes.emplace_back(
      "TRANSFORMERS_CACHE, which the guide sets, is deprecated and not read by transformers 5: "
      "HF_HUB_CACHE takes its place");
  answer.notes.emplace_back(
      "the Hub's token is looked for in HF_HOME: log in again, or set HF_TOKEN_PATH");
  if (!fs::exists(status))
    answer.notes.push_back("'" + base + "' is not there yet: qwenplan storage init " +
                           shell_quoted(given) + " makes it");
  else if (variables.back().name != std::string_view("TMPDIR"))
    answer.notes.emplace_back("it has no temp/, so TMPDIR is left as it is");
  if (in.format == Format::text) answer.raw = lines;
  answer.add(Headline{"caches below " + base});
  answer.add(Verbatim{lines.substr(0, lines.size() - 1)});
  return answer;
}

Result<Answer> storage_clean(const Invocation& in) {
  if (in.uses_guide)
    return Error{Error::Kind::unknown, "the guide's cleaning deletes at once, and is not done",
                 "--estimator", "leave it out"};
  const std::string age_text = in.value("older-than").value_or("24h");
  const auto age = parse_age(age_text);
  if (!age) return age.error();
  const bool deletes = in.has("yes");
  const auto now = std::chrono::duration_cast<std::chrono::seconds>(
                       std::chrono::system_clock::now().time_since_epoch())
                       .count();
  const auto cleaning =
      clean_temp(in.words[0], now, *age, deletes ? CleanMode::deletes : CleanMode::shows);
  if (!cleaning) return cleaning.error();

  Answer answer;
  answer.schema = "qwenplan.storage-clean/1";
  answer.inputs.push_back({"folder", Value(in.words[0]), "flag"});
  answer.inputs.push_back(
      {"older_than_seconds", Value(*age), in.has("older-than") ? "flag" : "default"});
  answer.json.set("deleted", deletes);
  answer.json.set("total_bytes", cleaning->bytes);
  Value files = Value::list();
  Table table{{{"file in temp/"}, {"size", Column::Align::right}, {"age", Column::Align::right}},
              {}};
  constexpr std::size_t kShown = 40;
  for (const OldFile& file : cleaning->files) {
    files.push(
        Value::object({{"path", file.path}, {"bytes", file.bytes}, {"age_seconds", file.age}}));
    if (table.rows.size() < kShown)
      table.rows.push_back(
          {file.path, text(file.bytes), text_duration(static_cast<double>(file.age))});
  }
  answer.json.set("files", files);
  answer.json.set("left", left_json(cleaning->left));
  answer.json.set("failed", left_json(cleaning->failed));
  answer.rows = std::move(files);

  const std::size_t count = cleaning->files.size();
  const std::string what = counted(count, "file", "files") + " of " + text(cleaning->bytes) +
                           ", last written more than " + text_duration(static_cast<double>(*age)) +
                           " ago";
  if (count == 0)
    answer.add(Headline{"nothing in temp/ was last written more than " +
                            text_duration(static_cast<double>(*age)) + " ago",
                        Tone::good});
  else
    answer.add(Headline{deletes ? "deleted " + what : what + "; --yes deletes them",
                        deletes ? Tone::good : Tone::plain});
  if (!table.rows.empty()) answer.add(std::move(table));
  if (count > kShown) answer.add(Paragraph{"and " + std::to_string(count - kShown) + " more"});
  for (const LeftAlone& each : cleaning->left)
    answer.notes.push_back("left alone: temp/" + each.path + " (" + each.why + ")");
  if (!cleaning->failed.empty())
    answer.error = wrong(counted(cleaning->failed.size(), "file", "files") +
                             " could not be deleted, the first: " + cleaning->failed[0].why,
                         in.words[0] + "/temp/" + cleaning->failed[0].path,
                         "you need to be allowed to write its folder");
  return answer;
}

}  // namespace qwenplan::command
