#pragma once

#include "read/trainer/document.hpp"

namespace qwenplan {

/// Puts the values of a document in place of OmegaConf's references to them: `${a.b}`, `${a.b[0]}`,
/// relative `${.b}`, and `${oc.select:a.b,default}`, alone (any value) or inside a text. Of
/// `${oc.env:NAME,default}` the default is taken, as if the variable were not set. What cannot be
/// told from the file stays as it is written: `${oc.env:HOME}`, other resolvers, missing
/// keys, circles. Returns a place where references go deeper, or make more, than is followed.
std::optional<Place> resolve_references(Node& root);

/// True for a text in which a reference is left, and for `???`, OmegaConf's word for "to be given".
bool is_unresolved(const Node& node);

}  // namespace qwenplan
