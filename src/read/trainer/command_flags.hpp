#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "read/trainer/document.hpp"
#include "read/trainer/shell_text.hpp"
#include "read/trainer/train_file.hpp"

namespace qwenplan {

/// A flag of a script whose value only a run of it would tell.
struct OpenFlag {
  std::string key;
  std::string variable;
  bool is_either = false;    ///< branches of the script set it differently
  bool decides_run = false;  ///< whatever the reader asks for
  Place place;
};

/// A word of a command as a value of a file.
Node scalar_of(const ShellWord& word);

/// The flags of a command as a map, as a file of arguments has it.
class CommandFlags {
 public:
  CommandFlags(const std::vector<ShellWord>& words, std::size_t first);

  /// A file of arguments comes first; its values count where no flag says more. Returns why it cannot be read.
  std::optional<Error> take_file(const Neighbours& neighbours);
  void read();
  /// The file that a flag names takes the flag's place; its values go before other flags. Returns why it
  /// cannot be read.
  std::optional<Error> take_named_file(std::string_view flag, const Neighbours& neighbours);
  /// Takes the words that may be more flags: those that a branch of the script sets leave the run open,
  /// the others are told.
  void take_further(RuleId rule, std::vector<Finding>& findings);

  Node root;
  std::vector<OpenFlag> open;
  std::vector<const ShellWord*> further;  ///< words that may be no word or more flags

 private:
  /// --key value, --key=value, and --key with several values or none.
  void flag();
  /// The last one of a key counts.
  void put(Entry entry);
  /// Finds the positions of all keys.
  void index();

  const std::vector<ShellWord>& words_;
  std::size_t at_;
  std::map<std::string, std::size_t, std::less<>> positions_;  ///< of keys in `root`
};

/// Puts a flag that only a run of the script would tell into a file: open where it decides memory or time of a
/// step, and told by `rule` where it does not. `is_read`: the reader asks for its key.
void put_open_flag(const OpenFlag& flag, bool is_read, RuleId rule, TrainFile& file);

}  // namespace qwenplan
