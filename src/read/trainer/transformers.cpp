#include "read/trainer/hf_arguments.hpp"
#include "read/trainer/readers.hpp"

namespace qwenplan {

TrainFile read_transformers(const Source& source) {
  const Node& root = source.root;
  const Neighbours& neighbours = source.neighbours;
  TrainFile file;
  file.trainer = Trainer::transformers;
  Settings s(&root, "", file.findings);
  if (version_of(source.version).value_or(latest_version(Trainer::transformers)) >= Version{5, 0, 0}) say_old_hf_names(s);
  read_hf_arguments(s, file, neighbours);
  // The model and the data belong to the script that the arguments are for; the common names of the
  // examples are taken.
  s.know(
      "tokenizer_name config_name cache_dir use_fast_tokenizer model_revision use_auth_token "
      "trust_remote_code dataset_config_name train_file validation_file max_train_samples "
      "max_eval_samples overwrite_cache validation_split_percentage preprocessing_num_workers "
      "keep_linebreaks streaming torch_dtype low_cpu_mem_usage");
  if (const auto model = s.text("model_name_or_path")) {
    file.model = model->value;
    file.model_place = model->place;
  }
  for (const char* key : {"max_seq_length", "block_size", "max_length"})
    if (const auto length = s.whole(key); length && !file.draft.length) file.draft.length = length;
  if (const auto data = s.text("dataset_name")) file.datasets.push_back(data->value);
  RunDraft& draft = file.draft;
  otherwise(draft.method, Method::full);
  otherwise(draft.checkpoints, false);
  file.leaves_precision = !draft.precision;
  otherwise(draft.precision, Precision::fp32);
  otherwise(draft.loss, Loss::standard);
  hf_defaults(file);
  split_batch(s, file);
  s.report_unknown("unknown-key-of-script", "it is the script's own");
  return file;
}

}  // namespace qwenplan
