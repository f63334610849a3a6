#pragma once

#include <cstdint>
#include <string_view>

namespace qwenplan {

/// Number formats of tensors, as PyTorch names them.
enum class DType : std::uint8_t { fp32, fp16, bf16, int64, int32, uint8, boolean };

/// Bytes of one element.
constexpr std::int64_t element_size(DType dtype) {
  switch (dtype) {
    case DType::fp32:
    case DType::int32: return 4;
    case DType::fp16:
    case DType::bf16: return 2;
    case DType::int64: return 8;
    case DType::uint8:
    case DType::boolean: return 1;
  }
  return 4;
}

constexpr std::string_view name(DType dtype) {
  switch (dtype) {
    case DType::fp32: return "fp32";
    case DType::fp16: return "fp16";
    case DType::bf16: return "bf16";
    case DType::int64: return "int64";
    case DType::int32: return "int32";
    case DType::uint8: return "uint8";
    case DType::boolean: return "bool";
  }
  return "?";
}

}  // namespace qwenplan
